import itertools
from pathlib import Path

import pytest

from training.lifecycle.anchor import Anchor, read_anchor, write_anchor


def test_all_tests_against_one_anchor_spend_the_level_together() -> None:
    levels = [Anchor("v", "q", k).level for k in range(20_000)]
    assert all(later < earlier for earlier, later in itertools.pairwise(levels))
    assert 0.048 < sum(levels) < 0.05


def test_an_anchor_is_kept_while_its_version_is_there(tmp_path: Path) -> None:
    assert read_anchor(tmp_path) is None
    anchor = Anchor("20260101T000000Z-00000000", "q", 3)
    write_anchor(tmp_path, anchor)
    assert read_anchor(tmp_path) is None
    (tmp_path / anchor.version).mkdir()
    assert read_anchor(tmp_path) == anchor
    (tmp_path / "anchor.json").write_text("{")
    with pytest.raises(ValueError, match=r"anchor\.json is damaged .*; delete it"):
        read_anchor(tmp_path)
