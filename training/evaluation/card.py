"""The model card, written from the report alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.bundle.manifest import Manifest
from training.evaluation.front import front_matter
from training.evaluation.plots import MOST_INTENTS_SHOWN, draw_plots
from training.evaluation.statistics import share_interval

MOST_SLICES_SHOWN = 20


def write_card(folder: Path, manifest: Manifest, report: Mapping[str, Any]) -> None:
    """Write README.md and plots/*.png into a bundle's folder."""
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    drawn = draw_plots(plots, manifest, report)
    (folder / "README.md").write_text(card_text(manifest, report, drawn), encoding="utf-8")


def card_text(manifest: Manifest, report: Mapping[str, Any], drawn: Sequence[str] = ()) -> str:
    """The model card in Markdown, with the plots that were `drawn`."""
    promises = [_certificates(manifest, report), _intent_certificates(manifest, report)]
    figures = [_summary(manifest, report), *promises, _more_labels(manifest, report)]
    weak = [_outside(report), _intents(report), _slices(manifest, report)]
    plots = "## Plots\n\n" + "\n".join(f"![{name}](plots/{name}.png)" for name in drawn) if drawn else ""
    origin = [_training_data(manifest, report), _tried(report), _origin(manifest, report)]
    parts = [front_matter(manifest, report), "# Model card", _use(manifest), *figures, *weak, plots, *origin]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(manifest: Manifest) -> str:
    return (
        f"## Intended use\n\nSorts a short message into one of {len(manifest.labels)} intents, on a CPU, and says "
        "whether a certificate (below) covers the answer. What it does not cover is for whoever labelled before. Load "
        "it with `Classifier` or `Cascade` of the package monoku, which redact texts as training did.\n\n"
        "## Limits\n\n"
        "- The certificates speak of messages like those of the calibration sample. For other traffic they promise "
        "nothing: sample and watch it.\n"
        "- A message that fits no intent gets the nearest one all the same, and may be accepted.\n"
        f"- Only the first {manifest.max_tokens} tokens of a message are read.\n"
        "- It learned what its labels say, with their mistakes and leanings. Decisions about people were not looked at."
    )


def _training_data(manifest: Manifest, report: Mapping[str, Any]) -> str:
    data = report.get("data")
    if not data:
        return ""
    rows = [(name, str(count)) for name, count in data["rows"].items()]
    labelled = ", ".join(f"{name} {count}" for name, count in data["labelers"].items())
    languages = ", ".join(data["language"]) or "not stated"
    text = f"Labelled by: {labelled}. Licence: {data['license']}. Languages: {languages}. Texts were redacted by "
    redactor = f"`{manifest.redactor}`" if manifest.redactor else "nothing"
    return f"## Training data\n\n{text}{redactor}.\n\n{_table(('split', 'rows'), rows)}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """A text that ends neither a cell nor a line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def percent(value: float | None) -> str:
    """A share for a person to read; a dash for None."""
    return "–" if value is None else f"{value:.1%}"


def _with_interval(share: float | None, rows: int) -> str:
    """A share of `rows` with its 95 % interval; a dash for None."""
    if share is None or rows < 1:
        return percent(share)
    low, high = share_interval(round(share * rows), rows)
    return f"{share:.1%} ({low:.1%} to {high:.1%})"


def _summary(manifest: Manifest, report: Mapping[str, Any]) -> str:
    latency, torch = report["latency_ms"], report["torch_on_test"]
    rows = [
        ("test rows", str(report["rows"])),
        (
            f"accuracy (reference: {manifest.reference}), 95 % interval",
            _with_interval(report["accuracy"], report["rows"]),
        ),
        ("macro-F1", percent(report["macro_f1"])),
        ("calibration error", f"{report['calibration']['calibration_error']:.3f}"),
        ("area under risk–coverage", f"{report['risk_coverage']['area']:.4f}"),
        ("latency p50 / p95 / p99", " / ".join(f"{latency[q]:.2f}" for q in ("p50", "p95", "p99")) + " ms"),
        ("measured on", report["machine"] + ", one thread"),
        ("model file", f"{report['model_bytes'] / 1e6:.1f} MB"),
        (
            "int8 against torch",
            f"same label on {percent(torch['agreement'])} of test; torch {percent(torch['accuracy'])}",
        ),
    ]
    if report.get("unseen", {}).get("rows", report["rows"]) < report["rows"]:
        new = report["unseen"]
        rows.insert(
            2,
            (
                f"accuracy on the {new['rows']} rows whose text is not in train",
                _with_interval(new["accuracy"], new["rows"]),
            ),
        )
    if "gold_accuracy" in report:
        figures = f"{percent(report['gold_accuracy'])} / {percent(report['teacher_gold_accuracy'])}"
        rows.insert(2, ("gold accuracy, student / teacher", figures))
    return _table(("figure", "value"), rows)


def _certificates(manifest: Manifest, report: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{c['target']:.0%}",
            "none: defer everything" if c["accept_above"] is None else f"{c['accept_above']:.4f}",
            percent(c["coverage"]),
            percent(c["test_coverage"]),
            _with_interval(c["test_agreement"], round((c["test_coverage"] or 0) * report["rows"])),
        )
        for c in report["certificates"]
    ]
    delta = sum(c.delta for c in (*manifest.certificates, *manifest.intents))
    named = next((c for c in manifest.certificates if c.target == manifest.target), None)
    ways = ["a keyword rule that reached *target* on dev fires"] if manifest.rules else []
    ways += ["the early exit is sure enough"] if any(c.exit_above is not None for c in manifest.certificates) else []
    how = f" ({', or '.join([*ways, 'the student scores above'])})" if ways else ""
    others = " with an intent that has no target of its own" if manifest.intents else ""
    text = (
        f"With probability at least {1 - delta:.4f} over the calibration sample, all of these hold: among "
        f"{manifest.unit} that are accepted{others}{how}, the answer agrees with the reference ({manifest.reference}) "
        "at least *target* of the time."
    )
    if named is not None:
        text += f" The promise at {manifest.target:.1%} alone is broken with probability {named.delta:.4f} at most."
    shares = [f"{percent(c['test_exits'])} at {c['target']:.0%}" for c in report["certificates"] if c.get("test_exits")]
    if shares:
        text += f" Of test the exit answers {', '.join(shares)}: there the student does not run."
    if manifest.never_accepted:
        text += f"\n\nNever accepted, for too few rows of it are known: {', '.join(manifest.never_accepted)}."
    header = ("target", "accept above", "coverage, calibration", "coverage, test", "agreement, test (95 %)")
    return f"## Certificates\n\n{text}\n\n{_table(header, rows)}"


def _intent_certificates(manifest: Manifest, report: Mapping[str, Any]) -> str:
    found = report.get("intent_certificates")
    if not found:
        return ""
    text = (
        "An answer that names one of these is accepted by its own certificate alone, whichever of the above serves. "
        f"The promise is about the accepted answers that name it ({manifest.unit}); it does not say how many of the "
        "messages with this intent are found."
    )
    rows = [
        (
            one["intent"],
            f"{one['target']:.1%}",
            "–" if one["accept_above"] is None else f"{one['accept_above']:.4f}",
            own_target(one),
        )
        for one in found
    ]
    return f"## Intents with a target of their own\n\n{text}\n\n" + _table(("intent", "target", "above", "found"), rows)


def own_target(one: Mapping[str, Any]) -> str:
    """What the certificate of an intent with a target of its own says, in words."""
    named = f"{one['named']} calibration answers that name it"
    if one["accept_above"] is None:
        more = f"at least {one['lacks']} more, all right, are lacking"
        return f"not certified, never accepted: {named}; {more}"
    right = f"right on {percent(one['agreement'])}; of test {percent(one['test_coverage'])}"
    return f"accepts {one['accepted']} of {named}, {right}, right on {percent(one['test_agreement'])}"


def _more_labels(manifest: Manifest, report: Mapping[str, Any]) -> str:
    found = report.get("more_labels")
    if not found:
        return ""
    text = (
        f"Simulated at the target of {manifest.target:.1%} with this student, though more labels would also make a "
        "better one. The price is Claude Haiku 5.5's, about."
    )
    rows = [
        (str(one["labels"]), f"${one['usd']:.2f}", percent(one["chance"]), percent(one["coverage"])) for one in found
    ]
    header = ("labels", "price of the new ones", "chance of a certificate", "coverage to expect")
    return f"## What more labels would buy\n\n{text}\n\n{_table(header, rows)}"


def _tried(report: Mapping[str, Any]) -> str:
    found = report.get("tried")
    if not found:
        return ""
    text = (
        "What training tried, judged on dev: how much of the fine-tuning is kept (0: the encoder as it came), and what "
        "share the likeness to class centres has in an answer. Kept is the first that ranks its answers as well as the "
        "best, to one standard error of the area under risk–coverage."
    )
    rows = [
        (f"{one['tuned']:.0%}", f"{one['centres']:.0%}", percent(one["accuracy"]), f"{one['area']:.4f}",
         "kept" if one["kept"] else "")
        for one in found
    ]  # fmt: skip
    header = ("fine-tuned", "centres", "accuracy, dev", "area, dev", "")
    return f"## What was tried\n\n{text}\n\n{_table(header, rows)}"


def bought(one: Mapping[str, Any]) -> str:
    """One size of `more_labels` in words."""
    return (
        f"a certificate with a chance of {one['chance']:.0%}, coverage {one['coverage']:.1%} (${one['usd']:.2f} more)"
    )


def _outside(report: Mapping[str, Any]) -> str:
    found = report["out_of_scope"]
    if not found:
        return ""
    rows = [
        ("in-scope accuracy", f"{percent(found['in_scope_accuracy'])} of {found['in_scope_rows']}"),
        ("out-of-scope recall", f"{percent(found['out_of_scope_recall'])} of {found['out_of_scope_rows']}"),
        ("AUROC of the in-scope score", f"{found['auroc']:.4f}"),
    ]
    return "## Out of scope\n\n" + _table(("figure", "value"), rows)


def _intents(report: Mapping[str, Any]) -> str:
    found = sorted(report["per_intent"].items(), key=lambda item: item[1]["f1"])[:MOST_INTENTS_SHOWN]
    rows = [
        (n, percent(v["precision"]), _with_interval(v["recall"], v["support"]), percent(v["f1"]), str(v["support"]))
        for n, v in found
    ]
    title = "## Intents" if len(rows) == len(report["per_intent"]) else f"## The {len(rows)} intents with the lowest F1"
    return f"{title}\n\n" + _table(("intent", "precision", "recall (95 %)", "F1", "test rows"), rows)


def _slices(manifest: Manifest, report: Mapping[str, Any]) -> str:
    ranked = sorted(report["slices"].items(), key=lambda item: item[1]["accuracy"])[:MOST_SLICES_SHOWN]
    rows = [
        (name, str(v["rows"]), percent(v["accuracy"]), percent(v["coverage"]), percent(v["agreement"]))
        for name, v in ranked
    ]
    text = (
        f"Slices of test, worst first, accepted at the certificate for {manifest.target:.1%}; the module docstring of "
        "`training.evaluation.slices` says how they are made."
    )
    header = ("slice", "rows", "accuracy", "accepted", "right among accepted")
    return f"## Where it is weak\n\n{text}\n\n{_table(header, rows)}"


def _origin(manifest: Manifest, report: Mapping[str, Any]) -> str:
    settings = report.get("settings") or report["dials"]  # the name that older reports have
    rows = [
        ("data set", f"`{manifest.dataset}`"),
        ("base model", f"{manifest.base['name']}, SHA-256 `{manifest.base['sha256']}`"),
        ("lineage", f"version {manifest.lineage['version']}, delta spent {manifest.lineage['delta_spent']:.4f}"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in sorted(manifest.libraries.items()))),
        ("settings", ", ".join(f"{name} = {value!r}" for name, value in settings.items())),
    ]
    return "## Where it comes from\n\n" + _table(("what", "value"), rows)
