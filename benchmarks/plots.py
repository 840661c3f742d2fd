"""The plots of docs/benchmarks.md: small SVG files, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

BLUE, ORANGE = "#4269d0", "#e8833a"  # on white and on black


def bars(path: Path, title: str, label: str, shares: Mapping[str, Sequence[float]], promised: float) -> None:
    """Shares of every cell, in groups, as one bar each, with a line at what is `promised`."""
    figure, axes = _figure(title)
    start = 0
    for name, values in shares.items():
        places = range(start, start + len(values))
        axes.bar(places, values, color=BLUE, width=0.7)
        axes.annotate(name, (start + (len(values) - 1) / 2, 0), (0, -4), textcoords="offset points", rotation=25,
                      ha="right", va="top", fontsize=8)  # fmt: skip
        start += len(values) + 1
    axes.axhline(promised, color=ORANGE, linestyle="--", label=f"promised: {promised:.2%} on average")
    axes.set(ylabel=label, ylim=(0, None), xticks=())
    _percent(axes)
    _save(figure, axes, path)


def lines(path: Path, title: str, labels: tuple[str, str], series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """One line a series through its points, both axes logarithmic."""
    figure, axes = _figure(title)
    for (name, points), colour in zip(series.items(), (BLUE, ORANGE), strict=False):
        axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=name)
        for x, y in points:
            axes.annotate(f"{y:.2g}", (x, y), (5, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.margins(0.15)
    _save(figure, axes, path)


def points(path: Path, title: str, labels: tuple[str, str], known: Mapping[str, tuple[float, float]]) -> None:
    """A named point each, the first one marked; the x axis is logarithmic, the y axis shows shares."""
    figure, axes = _figure(title)
    for i, (name, (x, y)) in enumerate(known.items()):
        axes.semilogx(x, y, "o", color=ORANGE if i == 0 else BLUE)
        place = (6, 6) if i % 2 else (6, -12)  # neighbours' names would lie on each other
        axes.annotate(name, (x, y), place, textcoords="offset points", fontsize=8)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.margins(0.3)
    _percent(axes)
    _save(figure, axes, path)


def _figure(title: str):  # type: ignore[no-untyped-def]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _percent(axes) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _save(figure, axes, path: Path) -> None:  # type: ignore[no-untyped-def]
    import matplotlib

    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    # Text stays text, and nothing depends on the day or on chance.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "monoku"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
