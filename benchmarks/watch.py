"""How soon is a broken promise found, how rarely is a kept one suspended, and what follows?

    python -m benchmarks.watch [--runs 1000] [--quick]

Accepted answers, each above the threshold for 95, 97 or 99 %, of which a teacher says whether they are right. After
1,000 of them agreement falls from 97 % to 90, in the answers that the student is less sure of or in all. The detectors
are those that serve. Some histories go through a real decision log, which two processes read, one of them started anew
every day: with publishes every day, with days on which nobody audits, with a teacher that changes its mind.
Finished cells are kept in the file `--out`, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cells
from inference.bundle.manifest import Certificate, Manifest
from inference.log.audits import Audited
from inference.log.database import Store
from inference.log.decision_log import Decision, DecisionLog, TeacherAnswer
from inference.log.detector import LIMIT, Detector
from inference.log.lookout import Lookout, Serving
from inference.log.marks import NOTHING
from inference.log.promise import Promise

TARGET, STRICTER = 0.95, (0.97, 0.99)
LEVELS = (TARGET, *STRICTER)
SHARES = (0.15, 0.20, 0.65)  # of accepted answers, by the strictest threshold that they are above
# How often answers of each kind are right: 97 % of all at first, 90 % after either fall, 93 % after the small one.
USUAL = (0.860, 0.965, 0.997)
FALLS = {"less sure answers": (0.660, 0.790, 0.990), "all answers": (0.700, 0.900, 0.946)}
SMALL = (0.760, 0.910, 0.975)
BEFORE, SOON, MOST = 1000, 500, 4000
SAMPLED, ACCEPTED = 0.01, 0.85  # the rate of the sample, and the share of requests that are accepted
A_DAY = 50  # audited answers in the histories that go through a log: 5,900 requests a day
DAY_S, START = 86_400.0, 1_700_000_000.0
QUESTION = "q" * 64


def right(mix: Sequence[float], level: float) -> float:
    """How often answers above the threshold for `level` are right; 1 where there are none."""
    kept = [(share, of) for share, of, one in zip(SHARES, mix, LEVELS, strict=True) if one >= level]
    return sum(share * of for share, of in kept) / sum(share for share, _ in kept) if kept else 1.0


def drawn(rng: np.random.Generator, mix: Sequence[float], n: int) -> tuple[np.ndarray, np.ndarray]:
    """By answer, the kind that it is of and whether it is right."""
    kinds = rng.choice(len(SHARES), n, p=SHARES)
    return kinds, rng.random(n) < np.asarray(mix)[kinds]


def answers(kinds: Iterable[int], agreed: Iterable[bool]) -> list[Audited]:
    return [
        Audited(i, "", "", LEVELS[kind], "", bool(yes)) for i, (kind, yes) in enumerate(zip(kinds, agreed, strict=True))
    ]


def promise() -> Promise:
    return Promise(QUESTION, TARGET, STRICTER, lambda answer, target, gone: (answer.confidence or 0) >= target)


def fall(mix: Sequence[float], runs: int) -> dict[str, Any]:
    """How many answers after the fall an alarm comes, and whether what serves 500 answers later keeps the target."""
    delays, kept, early, levels = [], 0, 0, []
    for run in range(runs):
        rng = np.random.default_rng([run, round(1000 * right(mix, TARGET))])
        watched = promise()
        early += bool(watched.add(answers(*drawn(rng, USUAL, BEFORE)), TARGET))
        delay, level = alarm_after(watched, rng, mix, MOST)
        delays.append(delay)
        if level > TARGET:
            level = settle(watched, rng, mix, level)
        kept += right(mix, level) >= TARGET
        levels.append(level)
    return {
        "early": early / runs, "soon": float(np.mean([delay <= SOON for delay in delays])),
        "median": float(np.median(delays)), "90 %": float(np.quantile(delays, 0.9)), "kept": kept / runs,
        "nothing": levels.count(NOTHING) / runs,
    }  # fmt: skip


def alarm_after(watched: Promise, rng: np.random.Generator, mix: Sequence[float], most: int) -> tuple[int, float]:
    """After how many answers the alarm comes, and what it leads to; `most` and the target where none comes."""
    for i, answer in enumerate(answers(*drawn(rng, mix, most))):
        for alarm in watched.add([answer], TARGET):
            return i + 1, alarm.to
    return most, TARGET


def settle(watched: Promise, rng: np.random.Generator, mix: Sequence[float], level: float) -> float:
    """What serves after 500 further answers that are accepted above the threshold for `level`, or stricter ones."""
    served = 0
    while served < SOON and level < NOTHING:
        kinds, agreed = drawn(rng, mix, 1)
        if LEVELS[kinds[0]] >= level:
            served += 1
            for alarm in watched.add(answers(kinds, agreed), level):
                level = alarm.to
    return level


def run_length(share: float, runs: int, most: int) -> dict[str, Any]:
    """How many answers it takes to a false alarm where the share `share` is right."""
    lengths = []
    for run in range(runs):
        detector, agreed = Detector(TARGET), np.random.default_rng([run, 7]).random(most) < share
        length = 0
        while length < most and detector.evidence < LIMIT:
            detector.add(bool(agreed[length]))
            length += 1
        lengths.append(length)
    within = [float(np.mean([length < n for length in lengths])) for n in (5_000, 20_000, most)]
    return {"mean": float(np.mean(lengths)), "median": float(np.median(lengths)), "within": within}


SCENARIOS = ("plain", "a publish a day", "one day in five unaudited", "a teacher that changes its mind")


def logged(scenario: str, histories: int) -> dict[str, Any]:
    """The same through a real log, which two processes read: the alarm's delay, and whether both come to one."""
    delays, same = [], 0
    for number in range(histories):
        with tempfile.TemporaryDirectory() as folder:
            delay, alike = history(scenario, np.random.default_rng([number, 11]), Path(folder))
        delays.append(delay)
        same += alike
    return {"median": float(np.median(delays)), "most": max(delays), "alike": same / histories}


def history(scenario: str, rng: np.random.Generator, home: Path) -> tuple[int, bool]:
    """Days of traffic until there is an alarm; whether a process that ran on and one started anew agree on it."""
    bundles = [version(home, day) for day in range(60 if scenario == "a publish a day" else 1)]
    log = DecisionLog(home / "log.db")
    store, serving, seen = Store(home / "log.db"), Serving(QUESTION, TARGET, STRICTER, 0.0), 0
    lasting = Lookout(log, home)
    for day in range(60):
        mix = USUAL if day * A_DAY < BEFORE else FALLS["less sure answers"]
        kinds, agreed = drawn(rng, mix, A_DAY)
        unaudited = scenario == "one day in five unaudited" and day % 5 == 4
        if scenario == "a teacher that changes its mind":
            agreed = agreed ^ (rng.random(A_DAY) < 0.005)
        store.write(list(rows(day, kinds, agreed, bundles[day % len(bundles)], unaudited)))
        seen += 0 if unaudited or day * A_DAY < BEFORE else A_DAY
        now = START + (day + 1) * DAY_S
        anew = Lookout(log, home)
        for lookout in (lasting, anew):
            lookout.look(serving, now)
        if lasting.alarm or anew.alarm:
            break
    store.close()
    return seen, lasting.alarm == anew.alarm


def version(home: Path, day: int) -> str:
    """A version with certificates, in `home`; its id."""
    certificates = tuple(Certificate(target, 0.01, target - 0.001) for target in LEVELS)
    manifest = Manifest(("a", "b"), 64, certificates=certificates, dataset=str(day))
    folder = home / f"20260101T{day:06}Z-{manifest.bundle_id[:8]}"
    folder.mkdir()
    (folder / "manifest.json").write_text(manifest.to_json())
    return manifest.bundle_id


def rows(
    day: int, kinds: np.ndarray, agreed: np.ndarray, bundle_id: str, unaudited: bool
) -> Iterable[Decision | TeacherAnswer]:
    """A day's sampled requests, spread over the day, with what the teacher said of them."""
    for i, (kind, yes) in enumerate(zip(kinds, agreed, strict=True)):
        name, time = f"{day}-{i}", START + day * DAY_S + i * DAY_S / (len(kinds) + 1)
        yield Decision(
            name, time, "text", "a", LEVELS[kind], True, "student", False, False, True, bundle_id, 1.0,
            question_id=QUESTION,
        )  # fmt: skip
        if not unaudited:
            label = "a" if yes else "b"
            yield TeacherAnswer(name, time + 1, "text", "t", "p", label, None, {}, 0.0, 1.0, True, QUESTION)


def in_days(answers: float) -> str:
    """How long so many audited answers take at 100, 1,000 and 10,000 requests a day."""
    days = [answers / (requests * SAMPLED * ACCEPTED) for requests in (100, 1_000, 10_000)]
    return " / ".join(f"{one:,.0f}" for one in days)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("models/watch.jsonl"), help="finished cells")
    parser.add_argument("--quick", action="store_true", help="50 runs")
    arguments = parser.parse_args()
    runs, kept = 50 if arguments.quick else arguments.runs, Cells(arguments.out)

    def cell(what: str, n: int, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return kept.run({"what": what, "runs": n}, work)

    for name, mix in {**FALLS, "all answers, to 93 %": SMALL}.items():
        n = runs if mix is not SMALL else max(50, runs // 4)
        found = cell(f"fall of {name}", n, lambda mix=mix, n=n: fall(mix, n))  # type: ignore[misc]
        print(
            f"97 -> {right(mix, TARGET) * 100:.1f} % ({name}): alarm within 500 answers {found['soon']:.1%}, median "
            f"{found['median']:.0f}, 90 % within {found['90 %']:.0f}, early {found['early']:.2%}\n"
            f"    days at 100 / 1,000 / 10,000 requests: {in_days(found['median'])}; after 500 further accepted "
            f"answers the target is kept in {found['kept']:.1%}, by accepting nothing in {found['nothing']:.1%}",
            flush=True,
        )
    for share, n, most in ((0.95, runs // 4, 200_000), (0.97, runs // 10, 100_000)):
        found = cell(f"run length at {share}", n, lambda s=share, n=n, m=most: run_length(s, n, m))  # type: ignore[misc]
        parts = zip(found["within"], (5_000, 20_000, most), strict=True)
        print(
            f"run length at {share:.0%}: mean {found['mean']:,.0f}, median {found['median']:,.0f}; an alarm "
            + ", ".join(f"within {of:,} in {part:.1%}" for part, of in parts)
        )
        print(f"    days of the mean at 100 / 1,000 / 10,000 requests: {in_days(found['mean'])}", flush=True)
    for scenario in SCENARIOS:
        n = max(4, runs // 50)
        found = cell(f"log: {scenario}", n, lambda scenario=scenario, n=n: logged(scenario, n))  # type: ignore[misc]
        print(
            f"through a log, looked at once a day, {scenario}: median {found['median']:.0f} answers, "
            f"{found['most']} at most; two processes alike in {found['alike']:.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
