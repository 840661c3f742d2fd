import asyncio
import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted(Path("notebooks").glob("*.ipynb"))
pytestmark = [
    # The Jupyter client's own modules warn of their future.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning"),
]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_in_git_has_no_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert cells
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


def executed(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What a notebook prints, and how many pictures it shows."""
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    notebook = nbformat.read(Path("notebooks") / f"{name}.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": "notebooks"}})
    asyncio.run(client.async_execute())
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    return "".join(output.get("text", "") for output in outputs), pictures


def test_the_quick_start_runs(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOKU_BUNDLE", str(tiny_home))
    printed, pictures = executed("quickstart", monkeypatch)
    assert "accepted at 99 %" in printed
    assert pictures == 2


@pytest.mark.soak
def test_the_operating_point_of_a_bundle_is_shown_with_its_price(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOKU_BUNDLE", str(tiny_home))
    printed, pictures = executed("operating_point", monkeypatch)
    assert "nothing can be promised" in printed
    assert "at 95% " in printed
    assert pictures == 1


@pytest.mark.soak
def test_a_model_learns_from_a_simulated_llm_and_finds_its_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    printed, _ = executed("llm_labels", monkeypatch)
    assert "labelled        1600" in printed
    assert "agree with the teacher" in printed
    assert "messages shown have a wrong label" in printed


@pytest.mark.soak
def test_the_simulated_month_has_its_alarm_and_its_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    printed, pictures = executed("watch_and_refresh", monkeypatch)
    assert "suspended:\nTrue\n" in printed
    assert "after day 30: published" in printed
    assert "watching again: True" in printed
    assert pictures == 1
