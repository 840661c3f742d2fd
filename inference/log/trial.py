"""A bundle on trial and the serving one side by side: what both said of the same sampled requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inference.log.reader import Reader
from inference.log.rows import SERVING, TRIAL, TrialAnswer
from inference.log.sequence import interval

ROLES = (SERVING, TRIAL)
EXPECTED_ACCEPTED, EXPECTED_AGREEMENT = 0.8, 0.95  # where the intervals are narrowest
Pair = Mapping[str, TrialAnswer]


def compare(log: Reader, since: float, until: float) -> dict[str, Any] | None:
    """The newest trial of a period: each side's figures with intervals that hold at every look; None without any.

    Agreement is that of the answers that a side would have accepted with the teacher's to the same request, which was
    asked for the sample; a refusal is no agreement, as in a certificate. Raises LogError if the log cannot be read.
    """
    pairs = _newest([pair for pair in _pairs(log, since, until).values() if len(pair) == len(ROLES)])
    if not pairs:
        return None
    labels = _labels(log, pairs, since)
    differ = {name: pair for name, pair in pairs.items() if pair[SERVING].intent != pair[TRIAL].intent}
    judged = {name: pair for name, pair in differ.items() if name in labels}
    tried = next(iter(pairs.values()))[TRIAL].bundle_id
    canary = sum(row.bundle_id == tried and row.id in pairs for row in log.read_sample(since, until))
    found: dict[str, Any] = {
        "requests": len(pairs), "canary": canary, "differ": len(differ), "differ_judged": len(judged),
    }  # fmt: skip
    for role in ROLES:
        alone_right = sum(pair[role].intent == labels[name] for name, pair in judged.items())
        found[role] = {**_side([pair[role] for pair in pairs.values()], labels), "alone_right": alone_right}
    return found


def _pairs(log: Reader, since: float, until: float) -> dict[str, dict[str, TrialAnswer]]:
    found: dict[str, dict[str, TrialAnswer]] = {}
    for row in log.read_trial(since, until):
        found.setdefault(row.request_id, {})[row.role] = row
    return found


def _newest(pairs: Sequence[Pair]) -> dict[str, Pair]:
    """Those of the two bundles that were compared last, by request."""
    if not pairs:
        return {}
    last = max(pairs, key=lambda pair: pair[TRIAL].time)
    bundles = [last[role].bundle_id for role in ROLES]
    return {pair[TRIAL].request_id: pair for pair in pairs if [pair[role].bundle_id for role in ROLES] == bundles}


def _labels(log: Reader, pairs: Mapping[str, Pair], since: float) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for answer in log.read_sampled_answers(since):
        if answer.request_id in pairs and labels.get(answer.request_id) is None:
            labels[answer.request_id] = answer.label
    return labels


def _side(rows: Sequence[TrialAnswer], labels: Mapping[str, str | None]) -> dict[str, Any]:
    accepted = [row for row in rows if row.accepted]
    judged = [row for row in accepted if row.request_id in labels]
    agreed = sum(row.intent == labels[row.request_id] for row in judged)
    times = sorted(row.latency_ms for row in rows)
    return {
        "bundle_id": rows[0].bundle_id,
        "accepted": _share(len(accepted), len(rows), EXPECTED_ACCEPTED),
        "agreement": _share(agreed, len(judged), EXPECTED_AGREEMENT),
        "p50_ms": times[len(times) // 2],
        "p95_ms": times[int(0.95 * len(times))],
    }


def _share(n: int, of: int, expected: float) -> dict[str, Any]:
    return {"share": n / of if of else None, "n": n, "of": of, "interval_95": interval(n, of, expected)}
