"""Pages of the site that are made from the code: the front page from README.md, and the whole reference."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inference
from inference.common import commands
from inference.serving.policy import Policy
from monoku.__main__ import COMMANDS
from training.lifecycle.options import Options
from training.student.config import Config

ROOT = Path(__file__).parent.parent
ALSO = ("inference.teachers.own.FunctionTeacher", "inference.service.metrics.Collector")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site; mkdocs calls this."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def pages() -> dict[str, str]:
    """The generated pages by their place under docs/."""
    return {
        "index.md": front_page((ROOT / "README.md").read_text(encoding="utf-8")),
        "reference/api.md": api(),
        "reference/settings.md": settings(),
        "reference/commands.md": command_lines(),
        "reference/files.md": files_kept(),
        "reference/statuses.md": statuses(),
    }


def front_page(readme: str) -> str:
    """README.md with its links as they are from here."""
    return readme.replace("](docs/", "](")


def api() -> str:
    """The public names, for mkdocstrings to fill in."""
    found = [_full_name(name) for name in inference.__all__]
    return "# API\n\n`from monoku import NAME` gives each of the first names.\n\n" + "\n\n".join(
        f"::: {name}" for name in (*found, *ALSO)
    )


def _full_name(name: str) -> str:
    return f"{getattr(inference, name).__module__}.{name}"


def settings() -> str:
    """All settings as tables."""
    parts = [
        "# Settings",
        "## Of a cascade\n\nArguments of `Cascade.load` win over `MONOKU_*` variables, these over a TOML file.",
        _settings_table(Policy, environment=True),
        "## Of training\n\nFlags of `training.train` and `training.refresh`, with dashes for underscores. They win "
        "over a TOML file (`--config`).",
        _settings_table(Config),
        "## Of a refresh\n\nFlags of `training.refresh`.",
        _settings_table(Options),
    ]
    return "\n\n".join(parts) + "\n"


def _settings_table(kind: type[Any], environment: bool = False) -> str:
    rows = []
    for item in dataclasses.fields(kind):
        default = "none" if item.default in ("", None) else f"`{item.default}`"
        name = f"`{item.name}`" + (f"<br>`MONOKU_{item.name.upper()}`" if environment else "")
        rows.append((name, str(item.type), default, item.metadata["help"]))
    return _table(("setting", "type", "default", "meaning"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser of a command, such as training.train."""
    found = importlib.import_module(module)._parser()
    found.prog = f"python -m {module}"
    return found


def command_lines() -> str:
    """Every command: what its module says of it, and its arguments."""
    parts = ["# Commands\n\n`python -m WING.NAME` and `monoku NAME` are the same."]
    for name, wing in COMMANDS.items():
        module = f"{wing}.{name}"
        text = inspect.getdoc(importlib.import_module(module)) or ""
        parts += [f"## {module}", _as_markdown(text), _table(("argument", "meaning"), list(_arguments(module)))]
    return "\n\n".join(parts) + "\n"


def _as_markdown(text: str) -> str:
    """A docstring whose indented lines, and those that begin with a command, are code."""
    lines = [f"    {line}" if line.startswith("python -m ") else line for line in text.splitlines()]
    text = re.sub(r"(?<!\n)\n( {4}\S)", r"\n\n\1", "\n".join(lines))
    text = re.sub(r"(\n {4}[^\n]*)\n\n( {4})", r"\1\n\2", text)
    return text.replace("(see inference/common/commands.py for all of them)", "([all of them](statuses.md))").replace(
        "as in inference/common/commands.py", "as [everywhere](statuses.md)"
    )


def _arguments(module: str) -> Iterator[tuple[str, ...]]:
    for action in parser_of(module)._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        takes = "" if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction) else f" {shown}"
        if action.choices:
            takes = " " + ",".join(map(str, action.choices))
        names = ", ".join(action.option_strings) + takes if action.option_strings else action.dest
        meaning = (action.help or "") % {"default": action.default} if "%" in (action.help or "") else action.help or ""
        yield f"`{names}`", meaning + (" (required)" if action.required and action.option_strings else "")


FILES = {
    "Of a bundle: models/NAME/VERSION/": [
        ("inference.bundle.manifest.MODEL", "the student, int8 ONNX"),
        ("inference.bundle.manifest.TOKENIZER", "its tokenizer"),
        ("inference.bundle.manifest.TAXONOMY", "the intents, ties and rules"),
        ("inference.bundle.manifest.EXIT", "the early exit; some bundles have none"),
        ("'report.json'", "every figure of the card"),
        ("'README.md'", "the model card; its plots are under plots/"),
        ("inference.bundle.versions.REJECTED", "why the gate kept it back; only then"),
        ("inference.bundle.manifest.MANIFEST", "all of these with their SHA-256, labels, certificates; written last"),
    ],
    "Of a model: models/NAME/": [
        ("inference.bundle.manifest.CURRENT", "the name of the version that serves; replaced whole"),
        ("inference.bundle.versions.TRIAL", "the version on trial and its share of the callers; only then"),
        ("'decisions.db'", "the decision log, where `log` is not set"),
        ("'spend.db'", "the spend ledger, where `ledger` is not set"),
        ("'spill/'", "rows of the log that its database did not take; the next start reads them"),
        ("'labelled.jsonl'", "what refreshes had labelled, with receipts"),
        ("'live.jsonl'", "rows of live traffic with their splits"),
        ("training.lifecycle.window.LIVE_LOOKS", "looks at the live sample"),
        ("training.lifecycle.anchor.FILE", "the best version so far"),
        ("training.lifecycle.state.FILE", "how far refreshes have read the log"),
        ("inference.bundle.versions.OVERRULED", "rejected versions that a person let serve"),
    ],
    "Of data: beside the rows": [
        ("inference.bundle.manifest.TAXONOMY", "the intents; without it they are the labels seen"),
        ("training.data.kept.SPLITS_FILE", "which row is in which split; kept for ever"),
        ("training.data.looks.LOOKS_FILE", "looks at the calibration rows"),
        ("training.data.linking.GROUPS_FILE", "groups of near-duplicates, as numbers; may be deleted"),
        ("training.lifecycle.questions.NOTES", "changes of the taxonomy"),
    ],
}  # fmt: skip


def files_kept() -> str:
    """The files that Monoku writes, their names as the code has them, and the fields of a manifest."""
    parts = ["# Files"]
    for title, rows in FILES.items():
        parts += [f"## {title}", _table(("file", "holds"), [(f"`{_value(name)}`", text) for name, text in rows])]
    manifest = importlib.import_module("inference.bundle.manifest")
    for kind in (manifest.Manifest, manifest.Certificate):
        fields = [(f"`{item.name}`", f"`{item.type}`") for item in dataclasses.fields(kind)]
        parts += [
            f"## Fields of a {kind.__name__.lower()}",
            inspect.getdoc(kind) or "",
            _table(("field", "type"), fields),
        ]
    return "\n\n".join(parts) + "\n"


def _value(name: str) -> str:
    """A string, or the value of a constant that is named in full."""
    if name.startswith("'"):
        return str(ast.literal_eval(name))
    module, _, constant = name.rpartition(".")
    return str(getattr(importlib.import_module(module), constant))


def statuses() -> str:
    """The exit statuses that inference.common.commands lists."""
    lines = (inspect.getdoc(commands) or "").splitlines()
    rows = [tuple(line.split(maxsplit=1)) for line in lines if re.match(r"\d", line)]
    text = "Every command ends with one of these, an error in one line on standard error."
    return f"# Exit statuses\n\n{text}\n\n{_table(('status', 'meaning'), rows)}\n"
