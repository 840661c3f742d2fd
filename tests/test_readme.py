import re
from pathlib import Path

import pytest

README = Path("README.md").read_text(encoding="utf-8")


def test_the_example_in_the_readme_runs_and_is_short(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 1
    assert len(blocks[0].strip().splitlines()) <= 10
    exec(compile(blocks[0].replace("models/support", str(tiny_home)), "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_paths_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"`((?:training|inference|benchmarks|docs|data|tests|notebooks)/[\w./]*)`", README))
    assert named
    assert [path for path in sorted(named) if not Path(path).exists()] == []
    modules = set(re.findall(r"python -m ((?:training|inference|benchmarks)\.\w+)", README))
    assert [name for name in modules if not Path(name.replace(".", "/") + ".py").exists()] == []
