"""The batches on their way, on disk before anything is sent: each one's custom ids, and the queries they stand for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from inference.common.files import write_atomically

FILE = "batches.json"


@dataclass(frozen=True)
class Batch:
    """A batch on its way. `id` is None until the API has given it one, `sent` whether it was ever asked for one."""

    nonce: str
    made: float
    reservation: str
    teacher: str
    prompt: str
    custom_ids: dict[str, str]  # → query id
    sent: bool = False
    id: str | None = None


class UnderWay:
    """The batches of the job whose folder is `home`, those of earlier runs too."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        found = json.loads(self._path.read_text()) if self._path.is_file() else []
        self._batches = {values["nonce"]: Batch(**values) for values in found}

    def all(self) -> list[Batch]:
        """The oldest first."""
        return list(self._batches.values())

    def put(self, batch: Batch) -> Batch:
        """Keep a new batch, or what is new about one."""
        self._batches[batch.nonce] = batch
        self._save()
        return batch

    def drop(self, batch: Batch) -> None:
        """Forget a batch that is through."""
        self._batches.pop(batch.nonce, None)
        self._save()

    def _save(self) -> None:
        write_atomically(self._path, json.dumps([asdict(batch) for batch in self.all()]).encode())
