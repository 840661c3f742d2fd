import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.plots import bars, lines, points

KINDS = {"plain": [0.0, 0.01], "two labelers": [0.02]}
DAYS = {"1 %": [(1000.0, 27.0), (10_000.0, 3.0)], "auto": [(1000.0, 4.1), (10_000.0, 3.8)]}


def words(path: Path) -> list[str]:
    """The texts of a picture, which stay texts."""
    return [one.text for one in ET.parse(path).iter() if one.text and one.tag.endswith("text")]


def test_the_bars_name_their_kinds_and_what_was_promised(tmp_path: Path) -> None:
    bars(tmp_path / "a.svg", "title", "broken", KINDS, 0.0145)
    assert {"title", "broken", "plain", "two labelers", "promised: 1.45% on average"} <= set(words(tmp_path / "a.svg"))


def test_the_lines_have_their_numbers_beside_them(tmp_path: Path) -> None:
    lines(tmp_path / "a.svg", "title", ("requests a day", "days"), DAYS)
    assert {"requests a day", "days", "auto", "27", "3.8", "1,000", "10,000"} <= set(words(tmp_path / "a.svg"))


def test_the_points_have_their_names_beside_them(tmp_path: Path) -> None:
    points(tmp_path / "a.svg", "title", ("milliseconds", "accuracy"), {"ours": (0.5, 0.96), "theirs": (15.0, 0.95)})
    assert {"title", "milliseconds", "accuracy", "ours", "theirs"} <= set(words(tmp_path / "a.svg"))


def test_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        lines(tmp_path / name, "title", ("x", "y"), DAYS)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
