"""A model card as HTML: as much of Markdown as cards have, with every text escaped. Nothing in it is a link."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

PLOT = re.compile(r"!\[([^\]]*)\]\((plots/[A-Za-z0-9_-]+\.(?:png|svg))\)")
_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*([^*]+)\*"), r"<em>\1</em>"),
)


def html(text: str, plots: str) -> Markup:
    """The card; `plots` is the path below which its plots are served. Front matter is left out."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    return Markup("\n").join(_block(block, plots) for block in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    """Lines that belong together: between blank lines, or between fences."""
    block: list[str] = []
    for line in text.splitlines():
        fenced = bool(block) and block[0].startswith("```")
        if fenced:
            block.append(line)
            if line.startswith("```"):
                yield block
                block = []
        elif not line.strip() or line.startswith(("#", "```")):
            if block:
                yield block
            block = [line] if line.startswith("```") else []
            if line.startswith("#"):
                yield [line]
        else:
            block.append(line)
    if block:
        yield block


def _block(lines: Sequence[str], plots: str) -> Markup:
    first = lines[0]
    if first.startswith("```"):
        return Markup("<pre>{}</pre>").format("\n".join(line for line in lines if not line.startswith("```")))
    if first.startswith("#"):
        level = min(6, len(first) - len(first.lstrip("#")) + 1)
        return Markup("<h{}>{}</h{}>").format(level, _inline(first.lstrip("# ")), level)
    if first.startswith("|"):
        rows = [_cells(line) for line in lines if not re.fullmatch(r"[|\s:-]+", line)]
        return _table(rows) if rows else Markup()
    if all(line.startswith(("- ", "  ", "* ")) for line in lines):
        items = Markup("").join(Markup("<li>{}</li>").format(_inline(line.lstrip("-* "))) for line in lines)
        return Markup("<ul>{}</ul>").format(items)
    found = [PLOT.fullmatch(line.strip()) for line in lines]
    if all(found):
        form = Markup('<img src="{}/{}" alt="{}">')
        return Markup('<p class="plots">{}</p>').format(
            Markup("").join(form.format(plots, one[2].removeprefix("plots/"), one[1]) for one in found if one)
        )
    return Markup("<p>{}</p>").format(_inline(" ".join(lines)))


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _table(rows: Sequence[Sequence[str]]) -> Markup:
    head, *body = [list(map(_inline, row)) for row in rows]
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(cell) for cell in head)
    lines = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in body
    )
    form = '<div class="scroll" tabindex="0" role="group" aria-label="table"><table><thead><tr>{}</tr></thead><tbody>{}'
    return Markup(form + "</tbody></table></div>").format(heads, lines)


def _inline(text: str) -> Markup:
    found = str(escape(text))
    for pattern, form in _INLINE:
        # It is escaped already, so that what is found in it may stand in the form as it is.
        found = pattern.sub(form, found)
    return Markup(found)
