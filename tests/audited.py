"""A log with audited answers, and a home with the certificates of the bundle that gave them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from inference.bundle.manifest import Certificate, Manifest
from inference.log.decision_log import DecisionLog
from inference.log.rows import Decision, TeacherAnswer
from tests.logged import answer, decision

THRESHOLDS = {0.95: 0.5, 0.97: 0.7, 0.99: 0.9}


def write_version(home: Path, day: int = 1, **values: object) -> Manifest:
    """A version of a made-up bundle, of which there is the manifest alone."""
    certificates = tuple(Certificate(target, 0.01, above) for target, above in THRESHOLDS.items())
    manifest = Manifest(("payments", "account"), 64, certificates=certificates, dataset=str(day), **values)  # type: ignore[arg-type]
    folder = home / f"202601{day:02}T000000Z-{manifest.bundle_id[:8]}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest.to_json())
    return manifest


def audited(
    agreed: Iterable[bool | None], start: float, bundle_id: str, question: str = "q1", confidence: float = 0.6
) -> list[Decision | TeacherAnswer]:
    """Rows of accepted answers, one a second from `start` on; None has nobody say whether it is right."""
    rows: list[Decision | TeacherAnswer] = []
    for i, right in enumerate(agreed):
        name, time = f"{start}-{i}-{confidence}", start + i
        rows.append(
            decision(name, time=time, sampled=True, bundle_id=bundle_id, question_id=question, confidence=confidence)
        )
        if right is not None:
            label = "payments" if right else "account"
            rows.append(answer(name, time=time, sampled=True, label=label, question_id=question))
    return rows


def write(log: DecisionLog, rows: Iterable[Decision | TeacherAnswer]) -> None:
    for row in rows:
        log.put(row)
    log.close()
