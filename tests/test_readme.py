import re
import shutil
from pathlib import Path

import pytest

README = Path("README.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["classifier", "cascade"])
def test_the_examples_in_the_readme_run_and_are_short(
    block: str, tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(block.strip().splitlines()) <= 12
    home = shutil.copytree(tiny_home, tmp_path / "support")  # the cascade keeps its log beside the model
    exec(compile(block.replace("models/support", str(home)), "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_paths_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"`((?:training|inference|benchmarks|docs|data|tests|notebooks)/[\w./]*)`", README))
    assert named
    assert [path for path in sorted(named) if not Path(path).exists()] == []
    modules = set(re.findall(r"python -m ((?:training|inference|benchmarks)\.\w+)", README))
    assert [name for name in modules if not Path(name.replace(".", "/") + ".py").exists()] == []
