"""The plots of a model card."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import Manifest
from training.evaluation.statistics import share_interval

MOST_INTENTS_SHOWN = 30
LONGEST_TICK = 40  # characters of a name
DARK = 0.5  # the share from which on a cell is so dark that its number is white


def draw_plots(folder: Path, manifest: Manifest, report: Mapping[str, Any]) -> list[str]:
    """Draw the reliability, risk-coverage and confusion plots as PNG files; the names of those that were drawn."""
    drawn = []
    for name, draw in PLOTS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of letters that the font does not have
                _draw(folder / f"{name}.png", lambda axes, draw=draw: draw(axes, manifest, report))  # type: ignore[misc]
            drawn.append(name)
        except Exception as error:  # a model is as good without its plot
            print(f"warning: no plot {name}: {type(error).__name__}: {error}", file=sys.stderr)
    return drawn


def _draw(path: Path, draw: Callable[[Any], None]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    draw(figure.add_subplot())
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


def _in_percent(*axes: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1.0))


def _reliability(axes: Any, manifest: Manifest, report: Mapping[str, Any]) -> None:
    confidence, accuracy, rows = np.array(report["calibration"]["bins"]).T
    low, high = share_interval(np.round(accuracy * rows), rows)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    axes.errorbar(confidence, accuracy, [accuracy - low, high - accuracy], fmt="o-", capsize=2, elinewidth=1)
    axes.set(xlabel="mean confidence", ylabel="accuracy, 95 % intervals", xlim=(0, 1.02), ylim=(0, 1.02))
    _in_percent(axes.xaxis, axes.yaxis)
    axes.set_title(f"Reliability, calibration error {report['calibration']['calibration_error']:.1%}")


def _risk_coverage(axes: Any, manifest: Manifest, report: Mapping[str, Any]) -> None:
    coverage, risk = np.array(report["risk_coverage"]["curve"]).T
    accepted = np.round(coverage * report["rows"])
    low, high = share_interval(np.round(risk * accepted), accepted)
    axes.fill_between(coverage, low, high, alpha=0.2, linewidth=0, label="95 % interval of each point")
    axes.plot(coverage, risk)
    for certificate in report["certificates"]:
        if certificate["accept_above"] is not None and certificate["test_agreement"] is not None:
            wrong = 1 - certificate["test_agreement"]
            axes.plot(certificate["test_coverage"], wrong, "o", label=f"certified at {certificate['target']:.0%}")
    # Of the first rows alone every interval reaches to the top; what matters lies far below.
    axes.set(xlabel="coverage: share accepted", ylabel="share wrong among these", xlim=(0, 1.02))
    axes.set_ylim(0, max(0.02, 1.5 * float(risk.max())))
    _in_percent(axes.xaxis, axes.yaxis)
    axes.legend(fontsize="small")
    axes.set_title("Risk and coverage on test")


def _confusion(axes: Any, manifest: Manifest, report: Mapping[str, Any]) -> None:
    matrix = np.array(report["confusion"], dtype=float)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="reference")
    if len(matrix) <= MOST_INTENTS_SHOWN:
        names = [" ".join(label.split())[:LONGEST_TICK] for label in manifest.labels]
        # A name is text, whatever it holds: between two dollars matplotlib would read mathematics.
        axes.set_xticks(range(len(matrix)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(matrix)), names, parse_math=False)
        _write_in_cells(axes, shares)
    axes.set_title("Confusion on test, % of each row")


def _write_in_cells(axes: Any, shares: np.ndarray) -> None:
    size = max(3.0, min(10.0, 60 / len(shares)))
    for (i, j), share in np.ndenumerate(shares):
        if share:
            color = "white" if share > DARK else "black"
            axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", color=color, fontsize=size)


PLOTS = {"reliability": _reliability, "risk_coverage": _risk_coverage, "confusion": _confusion}
