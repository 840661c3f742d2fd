"""What is said of a data set in the card of a model: its size, who labelled it, and its licence and languages."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

from training.data.dataset import Dataset
from training.data.splits import SPLITS

UNKNOWN = "unknown"  # the hub's own word for a licence that is not known


def about(data: Dataset, place: str) -> dict[str, Any]:
    """Name, rows by split and by labeler, licence and languages, ready for JSON.

    The last two come from the front matter of a README.md in the data's folder, as data sets of the hub have it. Where
    there is none the licence is "unknown", and no language is named.
    """
    said = _front_matter(Path(place))
    languages = said.get("language") or []
    return {
        "name": Path(place).name,
        "rows": {name: len(data.split(name)) for name in SPLITS},
        "labelers": dict(collections.Counter(row.labeler for row in data.rows).most_common()),
        "license": str(said.get("license") or UNKNOWN),
        "language": list(map(str, languages)) if isinstance(languages, list) else [str(languages)],
    }


def _front_matter(place: Path) -> dict[str, Any]:
    from huggingface_hub import metadata_load

    path = (place if place.is_dir() else place.parent) / "README.md"
    try:
        return metadata_load(path) or {} if path.is_file() else {}
    except Exception:  # a README in another form than the hub's says nothing, and YAML has errors of its own
        return {}
