"""Does the student do as well for a business that it has never met?

    python -m benchmarks.businesses [--without airline gym ...]

Trains on data/support without the rows of some kinds of business, then compares its own test split with all rows of the
businesses that were left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from inference.classifier import Classifier
from training.data.kept import SPLITS_FILE
from training.data.rows import Row, to_row
from training.evaluation.scored import score, serve
from training.lifecycle.pipeline import train
from training.student.config import Config

LEFT_OUT = ("airline", "gym", "parcel-courier", "saas-crm", "telehealth")


def split_off(data: Path, names: tuple[str, ...], folder: Path) -> list[Row]:
    """Write `data` without the rows of the businesses `names` into `folder`, and return those rows."""
    lines = (data / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    kept = [line for line, record in zip(lines, records, strict=True) if record["business"] not in names]
    (folder / "queries.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    for name in ("taxonomy.toml", SPLITS_FILE):
        shutil.copy(data / name, folder / name)
    held = [to_row(record, record["id"], "") for record in records if record["business"] in names]
    return [row for row in held if row is not None]


def line(name: str, classifier: Classifier, rows: list[Row]) -> str:
    scored = score(classifier, rows)
    served = serve(classifier, scored)
    agreement = f"{'–':>10}" if served.agreement is None else f"{served.agreement:>10.1%}"
    return f"{name:<22}{len(rows):>6}{scored.correct.mean():>10.1%}{served.coverage:>10.1%}{agreement}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/support"))
    parser.add_argument("--without", nargs="+", default=LEFT_OUT, metavar="BUSINESS")
    parser.add_argument("--models", default="models")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        held = split_off(arguments.data, tuple(arguments.without), Path(folder))
        config = Config(data=folder, name="support-businesses", models=arguments.models, seed=arguments.seed)
        version = train(config).folder
    classifier = Classifier.load(version)
    report = json.loads((version / "report.json").read_text(encoding="utf-8"))
    own = next(c for c in report["certificates"] if c["target"] == classifier.certificate.target)
    print(f"\n{'':<22}{'rows':>6}{'accuracy':>10}{'accepted':>10}{'right':>10}")
    print(
        f"{'own test split':<22}{report['rows']:>6}{report['accuracy']:>10.1%}{own['test_coverage']:>10.1%}"
        f"{own['test_agreement'] or float('nan'):>10.1%}"
    )
    print(line("businesses never met", classifier, held))
    for name in arguments.without:
        rows = [row for row in held if row.extra["business"] == name]
        print(line("  " + name, classifier, rows))


if __name__ == "__main__":
    main()
