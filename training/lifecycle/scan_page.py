"""The page of a scan: one file with its plots, no other is loaded, and no script runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.lifecycle.page import escaped
from training.lifecycle.scan_report import staying

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; max-width: 64rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: left; overflow-wrap: anywhere }
svg { font-size: 12px; margin-right: 1rem }
"""
_COLOURS = ("#1b6ca8", "#d1622b", "#2f8f4e", "#8a4fb0", "#a08000")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT = 460, 260, 45, 30, 70
_BAR = 18


def page(values: Mapping[str, Any], name: str) -> str:
    """The page as HTML, of what `scan_report.record` gave. Every text in it is escaped."""
    load = values["load"]
    notes = "".join(f"<p>{escaped(note)}</p>" for note in values["notes"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escaped(name)}: what could be answered locally</title><style>{_STYLE}</style></head><body>
<h1>{escaped(name)}: what could be answered locally</h1>
<p>{values["rows"]} distinct rows; a student of about half of them agrees with {values["agreement"]:.1%} of the other
labels. {load["requests_per_day"]:,} requests a day to {escaped(load["teacher"])} cost ${load["usd_per_month"]:,.2f} a
month.</p>
{_plot("chance of a certificate", values["targets"], lambda size: size["chance"])}
{_plot("coverage, given a certificate", values["targets"], lambda size: size["coverage"])}
{_sizes(values["targets"])}
{notes}
<h2>Intents at {values["target"]:.1%}: share that is answered locally</h2>
{_bars(values["intents"])}
<h2>{len(staying(values))} of {len(values["intents"])} intents will not go local</h2>
{_table(("intent", "rows", "right", "local", "why"), [_intent(one) for one in staying(values)])}
</body></html>
"""


def _plot(title: str, targets: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]) -> str:
    """Lines over the sizes, one for each target; a value of None has no point."""
    sizes = [size["rows"] for size in targets[0]["sizes"]]
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(sizes) - 1, 1)
    marks = [_text(_LEFT + i * step, _HEIGHT - 10, f"{rows:,}", "middle") for i, rows in enumerate(sizes)]
    for share in (0, 0.5, 1):
        marks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" stroke="#ddd"/>'
        )
        marks.append(_text(_LEFT - 6, _y(share) + 4, f"{share:.0%}", "end"))
    for i, (of_target, colour) in enumerate(zip(targets, _COLOURS, strict=False)):
        marks.append(_text(_WIDTH - _RIGHT + 12, 44 + 18 * i, f"{of_target['target']:.1%}", colour=colour))
        points = [(_LEFT + j * step, value(size)) for j, size in enumerate(of_target["sizes"])]
        marks += _drawn([(x, share) for x, share in points if share is not None], colour)
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img">{_text(_LEFT, 14, title)}{"".join(marks)}</svg>'


def _drawn(points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    path = " ".join(f"{x:.1f},{_y(share):.1f}" for x, share in points)
    dots = [f'<circle cx="{x:.1f}" cy="{_y(share):.1f}" r="3" fill="{colour}"/>' for x, share in points]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}"/>', *dots]


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - 30)


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escaped(words)}</text>'


def _bars(intents: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for i, one in enumerate(intents):
        y, colour = i * _BAR, _COLOURS[1] if one["why"] else _COLOURS[0]
        lines.append(_text(190, y + 13, one["name"][:30], "end"))
        lines.append(f'<rect x="196" y="{y + 3}" width="{400 * one["local"]:.1f}" height="12" fill="{colour}"/>')
        lines.append(_text(200 + 400 * one["local"], y + 13, f"{one['local']:.0%} of {one['rows']}"))
    return f'<svg width="720" height="{_BAR * len(intents)}" role="img">{"".join(lines)}</svg>'


def _sizes(targets: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (f"{of_target['target']:.1%}", f"{size['rows']:,}", f"${size['usd_for_labels']:,.2f}", f"{size['chance']:.0%}",
         *_if_certified(size))
        for of_target in targets
        for size in of_target["sizes"]
    ]  # fmt: skip
    header = ("target", "rows", "new labels", "chance", "coverage", "saved a month")
    return _table(header, rows)


def _if_certified(size: Mapping[str, Any]) -> tuple[str, str]:
    if size["coverage"] is None:
        return "-", "-"
    return f"{size['coverage']:.0%}", f"${size['usd_saved_per_month']:,.2f}"


def _intent(one: Mapping[str, Any]) -> tuple[str, ...]:
    return one["name"], str(one["rows"]), f"{one['agreement']:.0%}", f"{one['local']:.0%}", one["why"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escaped(name)}</th>" for name in header)
    lines = ["".join(f"<td>{escaped(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
