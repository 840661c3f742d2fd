"""The blocks of code in README.md and the pages under docs/, and how each language of them is held to be true."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "LOG.md")]
# Of other programs than ours: what they start of ours is held to our parsers all the same.
OTHERS = ("make", "pip", "curl", "cp", "cd", "npm", "node", "echo")
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code: the page it stands on, its language, the file name that it is titled with, and itself."""

    page: Path
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(page, *one) for one in found]


def command_lines(text: str) -> list[list[str]]:
    """The commands of a shell block, or within any other text, as words without redirections and comments."""
    lines = (line.split(" | ")[-1] if " | " in line else line for line in text.replace("\\\n", " ").splitlines())
    words = (shlex.split(re.split(r" [<>]{1,2} ", line)[0], comments=True) for line in lines)
    return [line for line in words if line]


def module_calls(text: str) -> list[list[str]]:
    """The arguments after every `python -m` in a text of any kind, as far as the end of its line."""
    found = (re.split(r" (?:>>?|<) |`|\"", rest)[0] for rest in re.findall(r"python -m ([\w.]+[^\n]*)", text))
    return [shlex.split(rest, comments=True) for rest in found]
