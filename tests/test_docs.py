"""What README.md and the pages under docs/ say is run, parsed or looked up: a document cannot go out of date unseen."""

import ast
import importlib
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

import inference
from docs.generate import pages, parser_of
from inference.bundle.taxonomy import Taxonomy
from inference.common.settings import read_toml
from inference.money.prices import load_prices
from inference.serving.policy import Policy
from monoku.__main__ import COMMANDS
from tests.documents import OTHERS, PAGES, ROOT, Block, blocks, command_lines, module_calls
from training.student.config import Config

ALL = [block for page in PAGES for block in blocks(page)]
OURS = {f"{wing}.{name}" for name, wing in COMMANDS.items()}
TOML = {
    "policy.toml": lambda path: Policy.load(path, {}),
    "train.toml": lambda path: Config(**read_toml(Config, path)),
    "taxonomy.toml": Taxonomy.load,
    "prices.toml": load_prices,
}


def of(language: str) -> list[Block]:
    found = [block for block in ALL if block.language == language]
    assert found, language
    return found


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_every_block_is_of_a_language_that_a_test_here_knows() -> None:
    fences = sum(page.read_text(encoding="utf-8").count("\n```") for page in PAGES)
    assert 2 * len(ALL) == fences
    assert {block.language for block in ALL} <= {"python", "sh", "toml", "text", "ini", "js", "yaml"}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language == "python" for b in blocks(page))], ids=name_of
)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tiny_home: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_home, tmp_path / "models" / "support")
    shutil.copy(tiny_data / "taxonomy.toml", tmp_path)
    for block in blocks(page):
        if block.title.endswith(".toml"):
            (tmp_path / block.title).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.language == "python":
            code = compile(block.text, name_of(page), "exec")
            if not block.title:  # a titled one is a file of another program's, and compiles
                exec(code, names)


def test_the_examples_in_the_readme_are_short_and_print_what_it_shows() -> None:
    found = blocks(ROOT / "README.md")
    python = [block.text for block in found if block.language == "python"]
    assert len(python[0].strip().splitlines()) == 6
    assert all(len(text.strip().splitlines()) <= 12 for text in python)
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("block", of("toml"), ids=lambda block: f"{name_of(block.page)}:{block.title}")
def test_a_settings_file_loads(block: Block, tmp_path: Path) -> None:
    (tmp_path / block.title).write_text(block.text)
    assert tomllib.loads(block.text)
    TOML[block.title](tmp_path / block.title)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_line_of_ours_is_one_that_its_command_takes(page: Path) -> None:
    for words in module_calls(page.read_text(encoding="utf-8")):
        module, arguments = words[0], words[1:]
        if module in OURS and "…" not in arguments and arguments:
            parser_of(module).parse_args(arguments)  # exits where it does not
        elif module.startswith("benchmarks."):
            source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
            assert [flag for flag in arguments if flag.startswith("--") and f'"{flag}"' not in source] == []
        else:
            assert importlib.util.find_spec(module), module


def test_a_shell_block_starts_nothing_that_is_not_known() -> None:
    for block in of("sh"):
        for words in command_lines(block.text):
            assert words[0] in OTHERS or words[:2] == ["python", "-m"], words
            if words[0] == "make":
                assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), words


def test_the_file_for_airflow_starts_the_refresh_with_arguments_that_it_takes() -> None:
    (airflow,) = (block for block in of("python") if block.title.startswith("dags/"))
    (command,) = (one.value for one in ast.walk(ast.parse(airflow.text)) if getattr(one, "arg", "") == "bash_command")
    ((module, *arguments),) = module_calls(ast.literal_eval(command))
    assert parser_of(module).parse_args(arguments).log


def test_the_front_matter_is_that_of_the_default_data() -> None:
    (block,) = of("yaml")
    assert f"---\n{block.text}---\n" in (ROOT / "data/support/README.md").read_text()


def test_the_paths_that_a_page_names_exist() -> None:
    kinds = "training|inference|benchmarks|docs|data|tests|notebooks|examples|deploy"
    for page in PAGES:
        named = set(re.findall(rf"`((?:{kinds})/[\w./-]*)`", page.read_text(encoding="utf-8")))
        made = {"data/support-6"}
        assert [path for path in sorted(named - made) if not (ROOT / path).exists()] == [], page


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_to_a_page_leads_to_one(page: Path) -> None:
    made = {ROOT / "docs" / name for name in pages()}
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        place = (page.parent / target).resolve()
        assert place.exists() or place in made, target


def test_the_readme_quotes_the_five_targets_as_the_benchmarks_do() -> None:
    quoted, measured = map(_targets, ("README.md", "docs/benchmarks.md"))
    assert len(quoted) == 5
    assert quoted == measured[:5]


def _targets(page: str) -> list[list[str]]:
    """Target and the first two measured columns of the rows that have a target."""
    cells = [line.strip("| ").split(" | ")[1:4] for line in (ROOT / page).read_text(encoding="utf-8").splitlines()]
    return [row for row in cells if row and re.match("[<>] ", row[0])]


def test_the_reference_has_every_setting_command_and_public_name() -> None:
    made = pages()
    assert all(
        f"`{name}`" in made["reference/settings.md"]
        for name in (*Policy.__dataclass_fields__, *Config.__dataclass_fields__)
    )
    assert all(f"## {module}" in made["reference/commands.md"] for module in OURS)
    assert "`--max-usd" in made["reference/commands.md"]
    assert "| 130 | stopped with Ctrl-C |" in made["reference/statuses.md"]
    assert "`splits.json`" in made["reference/files.md"]
    assert all(f".{name}\n" in made["reference/api.md"] + "\n" for name in inference.__all__)


def test_the_changelog_keeps_its_form_and_begins_with_the_version_that_the_package_has() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    titles = re.findall(r"^(#{2,3}) (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [title for depth, title in titles if depth == "##"]
    kinds = {title for depth, title in titles if depth == "###"}
    assert re.fullmatch(rf"\[Unreleased\] {version}|\[{version}\] - \d{{4}}-\d\d-\d\d", versions[0])
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title) for title in versions[1:])
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_hooks_of_a_commit_run_what_make_check_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (recipe,) = re.findall(r"^check: setup\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [hook["entry"] for hook in repository["hooks"]] == re.findall(
        r"\t(.+)\n", recipe.replace("$(BIN)", ".venv/bin")
    )


@pytest.mark.parametrize("form", ["bug", "question"])
def test_a_form_for_an_issue_has_fields_of_the_kinds_that_there_are(form: str) -> None:
    found = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text())
    assert {"name", "description", "body"} <= set(found)
    assert {field["type"] for field in found["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in found["body"] if field["type"] != "markdown")
