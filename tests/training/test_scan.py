import dataclasses
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from training import scan as command
from training.data.dataset import Dataset
from training.data.rows import Row
from training.data.sizes import Goal
from training.lifecycle.scan import FEWEST, Intent, Outlook, Scan, scan
from training.lifecycle.scan_page import page
from training.lifecycle.scan_report import DAYS, SAMPLED, Load, record, staying, text

GOALS = (Goal(0.9), Goal(0.8))
NAMES = ("a", "b", "c")
DRAWS = 25
LOAD = Load(1000, "claude-haiku-5-5", 900, 10)


def dataset(labels: Sequence[str], names: Sequence[str] = NAMES) -> Dataset:
    """Rows whose text says where they lie: the first letter is the intent, the rest a number."""
    rows = tuple(
        Row(str(i), f"{NAMES[i % 3]}{i}", label, split=("train", "calibration")[i % 2])
        for i, label in enumerate(labels)
    )
    return Dataset(rows, Taxonomy.of(names), {}, ())


def wrong(share: float, rows: int = 400) -> Dataset:
    """So many rows, of which a share has another intent's label."""
    rng = np.random.default_rng(0)
    return dataset([NAMES[(i + (rng.random() < share)) % 3] for i in range(rows)])


def spread(rows: Sequence[Row]) -> np.ndarray:
    """Embeddings in three clouds, by the first letter, that overlap a little."""
    rng = np.random.default_rng(1)
    centres = np.array(["abcd".index(row.text[0]) for row in rows])
    return 16 * (np.eye(8)[centres] + 0.25 * rng.normal(size=(len(rows), 8)))


@pytest.fixture(scope="module")
def clean() -> Scan:
    return scan(wrong(0.0), GOALS, spread, DRAWS)


@pytest.fixture(scope="module")
def noisy() -> Scan:
    return scan(wrong(0.25), GOALS, spread, DRAWS)


def test_labels_that_agree_more_let_more_be_answered_locally(clean: Scan, noisy: Scan) -> None:
    assert clean.agreement > noisy.agreement + 0.1
    for target, outlooks in clean.outlooks.items():
        for better, worse in zip(outlooks, noisy.outlooks[target], strict=True):
            assert better.chance >= worse.chance
            assert (better.coverage or 0) > (worse.coverage or 0)
    assert clean.outlooks[0.9][0].chance > 0.9
    assert noisy.outlooks[0.9][0].chance < 0.2


def test_the_same_rows_have_the_same_outlook(noisy: Scan) -> None:
    assert scan(wrong(0.25), GOALS, spread, DRAWS) == noisy


def test_more_rows_have_no_smaller_chance_and_a_stricter_target_no_larger_one(clean: Scan, noisy: Scan) -> None:
    for found in (clean, noisy):
        chances = {target: [one.chance for one in outlooks] for target, outlooks in found.outlooks.items()}
        assert np.diff(np.mean(list(chances.values()), axis=0)).min() >= -0.05
        assert np.mean(chances[0.9]) <= np.mean(chances[0.8])
        assert [one.rows for one in found.outlooks[0.9]] == [400, 800, 1600]


def test_copies_of_a_row_are_one_row() -> None:
    data = wrong(0.1, 240)
    grouped = dataclasses.replace(
        data, rows=tuple(dataclasses.replace(row, group=str(i // 4)) for i, row in enumerate(data.rows))
    )
    assert scan(grouped, GOALS[:1], spread, 5).rows == 120  # four in a group, two in each split


def test_an_intent_that_does_not_go_local_says_why() -> None:
    labels = [NAMES[i % 3] for i in range(360)]
    labels[::3] = ["b" if i % 3 else "a" for i in range(len(labels[::3]))]  # most of what looks like a is called b
    rare = ["d"] * 3
    found = scan(dataset([*labels, *rare], (*NAMES, "d")), GOALS, spread, DRAWS)
    why = {one.name: one.why for one in found.intents}
    assert why["c"] == ""
    assert re.fullmatch(r"low agreement: \d+% are taken for b", why["a"])
    assert why["d"].startswith("too few rows: about 12 are needed")
    assert [one.local for one in found.intents] == sorted(one.local for one in found.intents)


def test_too_few_rows_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match=f"20 distinct rows .* at least {FEWEST} are needed; .*training.label"):
        scan(wrong(0.0, 20), GOALS, spread)


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_what_is_saved_is_what_is_not_asked_less_the_sample(coverage: float, requests: int) -> None:
    load = Load(requests, LOAD.teacher, 900, 10)
    assert load.usd_per_month == pytest.approx(requests * DAYS * load.usd_per_request)
    left = (1 - coverage + SAMPLED) * load.usd_per_month
    assert load.saved(coverage) == pytest.approx(max(0.0, load.usd_per_month - left), abs=1e-9)
    assert load.saved(0) == 0.0


def made(names: Sequence[str]) -> dict[str, object]:
    outlooks = (Outlook(100, 0.0, None), Outlook(200, 0.5, 0.25), Outlook(400, 1.0, 1.0))
    intents = tuple(Intent(name, 9, 0.5, 0.0, f"low agreement: 50% are taken for {name}") for name in names)
    return record(Scan(100, 0.9, {0.9: outlooks, 0.95: outlooks}, intents), LOAD, 0.95)


HOSTILE = st.text(max_size=30) | st.sampled_from(["</svg><script>alert(1)</script>", "' onload='x", '"><img src=x>'])


@settings(max_examples=30)
@given(st.lists(HOSTILE, max_size=4), HOSTILE)
def test_no_text_of_the_page_is_markup_and_nothing_is_loaded(names: Sequence[str], title: str) -> None:
    found, plain = page(made(names), title), page(made(["a"]), "b")
    assert set(re.findall(r"<(\w+)", found)) <= set(re.findall(r"<(\w+)", plain))
    assert "<script" not in found
    assert not re.search(r"<[^>]*(src|href|onload)=", found)
    assert "default-src 'none'" in found
    cells = re.findall(r"<tr><td>([^<]*)</td><td>9</td>", found)
    assert [html.unescape(cell) for cell in cells] == [
        html.unescape(html.escape(n.encode("utf-8", "replace").decode())) for n in names
    ]


def test_the_text_has_every_size_and_no_figure_where_there_is_no_certificate() -> None:
    said = text(made(["x", "y"]))
    assert [line.split()[1:] for line in said.splitlines() if line.strip().startswith("95.0%")] == [
        ["100", "$0.00", "0%", "-", "-"],
        ["200", "$0.01", "50%", "25%", f"${LOAD.saved(0.25):.2f}"],
        ["400", "$0.03", "100%", "100%", f"${LOAD.saved(1.0):.2f}"],
    ]
    assert "2 of 2 intents will not go local at 95.0%" in said
    assert len(staying(made(["x", "y"]))) == 2


def test_the_command_writes_json_and_a_page_and_leaves_the_data_alone(
    tiny_data: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = tmp_path / "traces.jsonl"
    traces.write_text("".join((tiny_data / "queries.jsonl").read_text().splitlines(keepends=True)[:80]))
    page_file = tmp_path / "scan.html"
    flags = [str(traces), "--base", str(tiny_base), "--requests-per-day", "500", "--json", "--html", str(page_file)]
    assert command.main(flags) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["load"]["requests_per_day"] == 500
    assert [one["target"] for one in values["targets"]] == [0.9, 0.95, 0.97, 0.99]
    assert "<svg" in page_file.read_text()
    assert oct(page_file.stat().st_mode & 0o777) == "0o600"
    assert {path.name for path in tmp_path.iterdir()} == {"traces.jsonl", "scan.html"}


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        ([("a", "x"), ("b", "y")], [], "2 distinct rows .* are too few to scan"),
        ([("a", "x"), ("b", "x")], [], "a classifier needs at least two intents: add rows of another"),
        ([("a", ""), ("b", "")], [], "no labelled row; 2 rows have none"),
        ([("a", "x"), ("b", "y")], ["--teacher", "nobody"], "no price for the model 'nobody'.*--prices FILE"),
        ([("a", "x"), ("b", "y")], ["--target", "2"], "target must lie between 0.5 and 0.999"),
    ],
)
def test_what_cannot_be_scanned_is_one_line(
    rows: Sequence[tuple[str, str]],
    flags: Sequence[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps({"text": said, "label": label}) + "\n" for said, label in rows))
    assert command.main([str(file), *flags]) == 2
    assert re.fullmatch(f"error: .*{message}.*\n", capsys.readouterr().err)
