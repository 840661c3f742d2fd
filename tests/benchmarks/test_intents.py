import numpy as np
import pytest

from benchmarks.clinc_domains import DOMAIN_OF, DOMAINS
from benchmarks.intents import Answers, Cell, Pool, certify_draw, needed, outcome
from inference.bundle.manifest import Certificate

CELL = Cell("made up", 6_000, {"fraud": 0.97, "chat": 0.90})


def pool(wrong: float) -> Pool:
    """Three intents; the student and the exit are surer of what is right, and wrong this often of all."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20_000)

    def model(share: float) -> Answers:
        misses = rng.random(len(labels)) < share
        confidence = np.where(misses, rng.beta(2, 2, len(labels)), rng.beta(8, 1, len(labels)))
        return Answers(np.where(misses, (labels + 1) % 3, labels), confidence)

    return Pool(("chat", "fraud", "other"), labels, model(wrong), model(2 * wrong))


def test_what_keeps_its_target_is_certified_and_what_cannot_is_not() -> None:
    good, bad = pool(0.02), pool(0.45)
    rng = np.random.default_rng(1)
    found = certify_draw(good, CELL, rng)
    assert all(one.accept_above is not None for one in found.intents)
    shown = outcome(good, CELL, found)
    assert shown["broken"] == [0.0, 0.0, 0.0]
    assert all(0.8 * best <= coverage <= best for coverage, best in zip(shown["coverage"], shown["best"], strict=True))
    unsure = Pool(bad.names, bad.labels, *(Answers(one.said, np.full(20_000, 0.9)) for one in (bad.student, bad.exit)))
    assert all(one.accept_above is None for one in certify_draw(unsure, CELL, rng).intents)


def test_rows_that_are_needed_grow_as_errors_do() -> None:
    promise = Certificate(0.97, 0.01, None)
    assert needed(0.0, promise) == pytest.approx(152, abs=2)
    assert needed(0.0, promise) < needed(0.01, promise) < needed(0.02, promise) < needed(0.03, promise) == float("inf")


def test_there_are_ten_domains_of_fifteen_intents() -> None:
    assert {name: len(intents.split()) for name, intents in DOMAINS.items()} == dict.fromkeys(DOMAINS, 15)
    assert (len(DOMAINS), len(DOMAIN_OF)) == (10, 150)
