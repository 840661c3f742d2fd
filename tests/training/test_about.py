from pathlib import Path

import pytest

from tests.tiny import write_tiny_data
from training.data import dataset
from training.data.about import about


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_data(tmp_path / "desk")


def test_a_data_set_that_says_nothing_has_an_unknown_licence_and_no_language(data: Path) -> None:
    rows = dataset.load(str(data))
    found = about(rows, str(data))
    assert (found["license"], found["language"], found["name"]) == ("unknown", [], "desk")
    assert sum(found["rows"].values()) == sum(found["labelers"].values()) == len(rows.rows)


@pytest.mark.parametrize(("said", "languages"), [("[en, de]", ["en", "de"]), ("en", ["en"])])
def test_licence_and_languages_come_from_the_front_matter_beside_the_data(
    data: Path, said: str, languages: list[str]
) -> None:
    (data / "README.md").write_text(f"---\nlicense: mit\nlanguage: {said}\n---\n\n# Desk\n")
    found = about(dataset.load(str(data)), str(data / "queries.jsonl"))
    assert (found["license"], found["language"]) == ("mit", languages)


@pytest.mark.parametrize("text", ["# No front matter", "---\n[\n---\n", "---\n- a list\n---\n", ""])
def test_a_readme_of_another_form_says_nothing(data: Path, text: str) -> None:
    (data / "README.md").write_text(text)
    assert about(dataset.load(str(data)), str(data))["license"] == "unknown"
