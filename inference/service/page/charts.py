"""Charts as inline SVG. Colours are classes of style.css, so that they fit light and dark; every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 190, 46, 12, 10, 24
SPARK_WIDTH, SPARK_HEIGHT = 132, 32
Point = tuple[float, float]
_NOTHING = Markup()


class Area(NamedTuple):
    """The part of a chart where data are drawn: which values its edges stand for."""

    first: float
    last: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (value - self.first) / ((self.last - self.first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top. What lies outside is drawn at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def band(names: Sequence[str], bars: Sequence[Mapping[str, int]], labels: Sequence[str]) -> Markup:
    """Stacked bars: the share of each name in each bar. A bar without anything stays empty."""
    area, parts = Area(0, max(1, len(bars)), 0, 1), [_share_axis((0, 0.5, 1), Area(0, 1, 0, 1)), _under(labels)]
    for i, bar in enumerate(bars):
        total, below = sum(bar.values()), 0
        for name in names:
            n = bar.get(name, 0)
            if n:
                top, bottom = area.y((below + n) / total), area.y(below / total)
                said = f"{labels[i]}: {name} {n / total:.1%} of {total:,}"
                parts.append(_rect(f"fill-{name}", area.x(i + 0.06), top, area.x(0.88) - LEFT, bottom - top, said))
            below += n
    return _svg("Share of requests by what answered them, over time", parts)


def agreement(
    points: Sequence[tuple[float, float, float, float]], promise: float | None, spans: Iterable[Point], span: Point
) -> Markup:
    """Points (time, share, low, high) with their band, the promise as a line, and when it was suspended."""
    floor = min([0.9, *([promise - 0.05] if promise else []), *(low for _, _, low, _ in points[len(points) // 2 :])])
    area = Area(*span, max(0.0, int(floor * 20) / 20), 1.0)
    parts = [_share_axis((area.low, (area.low + 1) / 2, 1), area)]
    for since, until in spans:
        x, end = area.x(max(since, span[0])), area.x(min(until, span[1]))
        parts.append(_rect("suspended", x, TOP, max(2.0, end - x), HEIGHT - TOP - BOTTOM, "promise suspended"))
    if points:
        upper = [(area.x(time), area.y(high)) for time, _, _, high in points]
        lower = [(area.x(time), area.y(low)) for time, _, low, _ in points]
        parts.append(_path("interval", [*upper, *reversed(lower)], closed=True))
        parts.append(_path("line", [(area.x(time), area.y(share)) for time, share, _, _ in points]))
        parts += [_dot("dot", area.x(time), area.y(share), f"{share:.1%}") for time, share, _, _ in points]
    if promise:
        parts.append(_across(area.y(promise), f"promise {promise:.0%}"))
    return _svg("Live agreement with its 95 % confidence sequence", parts)


def money(days: Sequence[tuple[str, float, float | None]], cap: float | None) -> Markup:
    """For each day (label, spent, what an LLM for every request would have cost) two bars; the cap as a line."""
    most = max([1e-9, *(spent for _, spent, _ in days), *(every or 0.0 for _, _, every in days)])
    most = max(most, cap) if cap and cap < 20 * most else most
    area = Area(0, max(1, len(days)), 0, most * 1.05)
    parts = [_grid(area, most / 2, dollars(most / 2)), _grid(area, most, dollars(most)), _grid(area, 0, "$0")]
    parts.append(_under([label for label, _, _ in days]))
    for i, (label, spent, every) in enumerate(days):
        x, width, zero = area.x(i + 0.12), area.x(0.76) - LEFT, area.y(0)
        if every is not None:
            said = f"{label}: {dollars(every)} for an LLM alone"
            parts.append(_rect("all-llm", x, area.y(every), width, zero - area.y(every), said))
        said = f"{label}: {dollars(spent)} spent"
        parts.append(_rect("spent", x, area.y(spent), width, zero - area.y(spent), said))
    if cap and cap <= most:
        parts.append(_across(area.y(cap), f"cap {dollars(cap)}"))
    return _svg("Money spent a day, and what an LLM for every request would have cost", parts)


def risk(curve: Sequence[Point], certified: Sequence[tuple[float, float, float]], at: Point) -> Markup:
    """Points (share answered, share of these that is right); certified ones (share, right, target); and a marker."""
    area = risk_area(curve, certified)
    parts = [_share_axis((area.low, (area.low + 1) / 2, 1), area)]
    parts += [_text("tick", area.x(share), HEIGHT - 8, f"{share:.0%}", "middle") for share in (0, 0.25, 0.5, 0.75)]
    parts.append(_text("tick", area.x(1), HEIGHT - 8, "100%", "end"))
    parts.append(_path("line", [(area.x(share), area.y(right)) for share, right in curve]))
    for share, right, target in certified:
        x, y = area.x(share), area.y(right)
        said = f"certified for {target:.1%}: {share:.1%} answered, {right:.1%} right"
        parts += [_dot("certified", x, y, said, 5), _text("mark", x, y - 9, f"{target:.0%}", "middle")]
    x, y = area.x(at[0]), area.y(at[1])
    marker = Markup('<g id="marker" transform="translate({x:.1f} {y:.1f})"><line class="here" y1="{top:.1f}" '
                    'y2="{bottom:.1f}"/><circle class="here" r="4"/></g>')  # fmt: skip
    parts.append(marker.format(x=x, y=y, top=TOP - y, bottom=HEIGHT - BOTTOM - y))
    return _svg("Agreement among answered requests, by the share that is answered locally", parts)


def risk_area(curve: Sequence[Point], certified: Sequence[tuple[float, float, float]]) -> Area:
    """The area of `risk`: the script moves its marker by it."""
    least = min([0.95, *(right for _, right in curve), *(right for _, right, _ in certified)])
    return Area(0, 1, max(0.0, int(least * 20) / 20), 1.0)


def spark(values: Sequence[float | None], target: float, said: str) -> Markup:
    """A small line without axes; a gap where there is no value. The target is a dashed line."""
    known = [value for value in values if value is not None]
    high = max([target, *known]) * 1.08 or 1.0
    low = min([target, *known]) * 0.92

    def place(i: int, value: float) -> Point:
        x = 3 + i * (SPARK_WIDTH - 6) / max(1, len(values) - 1)
        return x, SPARK_HEIGHT - 3 - (value - low) / (high - low) * (SPARK_HEIGHT - 6)

    points = [place(i, value) for i, value in enumerate(values) if value is not None]
    y = place(0, target)[1]
    parts = [Markup('<line class="target" x1="0" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(SPARK_WIDTH, y, y)]
    parts += [_path("line", points), _dot("dot", *points[-1], "", 2.5)] if points else []
    head = Markup('<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(SPARK_WIDTH, SPARK_HEIGHT, said) + _NOTHING.join(parts) + Markup("</svg>")


def dollars(usd: float) -> str:
    """Dollars for an axis or a table: with as many digits as small sums need."""
    if usd >= 100:
        return f"${usd:,.0f}"
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.3g}"


def _svg(said: str, parts: Iterable[Markup]) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, said)
    return head + _NOTHING.join(parts) + Markup("</svg>")


def _share_axis(shares: Iterable[float], area: Area) -> Markup:
    return _NOTHING.join(_grid(area, share, f"{share * 100:.3g} %") for share in shares)


def _grid(area: Area, value: float, label: str) -> Markup:
    y = area.y(value)
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
    return line + _text("tick", LEFT - 6, y + 4, label, "end")


def _under(labels: Sequence[str]) -> Markup:
    """The first label, the middle one and the last one, below the bars."""
    places = sorted({0, len(labels) // 2, len(labels) - 1}) if labels else []
    step = (WIDTH - LEFT - RIGHT) / max(1, len(labels))
    return _NOTHING.join(
        _text("tick", LEFT + (i + 0.5) * step, HEIGHT - 8, labels[i], "end" if i and i == len(labels) - 1 else "middle")
        for i in places
    )


def _across(y: float, label: str) -> Markup:
    line = Markup('<line class="target" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
    return line + _text("mark", LEFT + 4, y - 5 if y > TOP + 16 else y + 14, label, "start")


def _rect(kind: str, x: float, y: float, width: float, height: float, said: str) -> Markup:
    form = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
    return Markup(form).format(kind, x, y, width, max(0.0, height), said)


def _path(kind: str, points: Sequence[Point], closed: bool = False) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<{} class="{}" points="{}"/>').format("polygon" if closed else "polyline", kind, places)


def _dot(kind: str, x: float, y: float, said: str, radius: float = 2.5) -> Markup:
    form = '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>'
    return Markup(form).format(kind, x, y, radius, said)


def _text(kind: str, x: float, y: float, words: str, anchor: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, words)
