import asyncio
import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

QUICKSTART = Path("notebooks/quickstart.ipynb")


def test_the_notebook_in_git_has_no_outputs() -> None:
    cells = json.loads(QUICKSTART.read_text())["cells"]
    assert cells
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


# The Jupyter client's own modules warn of their future.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOKU_BUNDLE", str(tiny_home))
    notebook = nbformat.read(QUICKSTART, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": "notebooks"}})
    asyncio.run(client.async_execute())
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("accepted at 99 %" in output.get("text", "") for output in outputs)
