import numpy as np
import pytest

from training.data.advice import price
from training.data.sizes import Goal
from training.evaluation.growth import more_labels
from training.evaluation.scored import Served


def served(rows: int, seed: int) -> Served:
    rng = np.random.default_rng(seed)
    scores = rng.beta(4, 1, rows)
    return Served(scores, scores > 0.9, rng.random(rows) < 1 - (1 - scores) ** 1.5)


def test_more_labels_bring_certificates_and_coverage_at_their_price() -> None:
    found = more_labels([served(60, 1), served(200, 2), served(60, 3)], 640, Goal(0.95))
    assert [one["labels"] for one in found] == [640, 1280, 2560]
    assert [one["usd"] for one in found] == [0.0, price(640), price(1920)]
    chances, coverages = ([one[name] for one in found] for name in ("chance", "coverage"))
    assert chances == sorted(chances)
    assert coverages == sorted(coverages)
    assert chances[0] < 0.9 < chances[2]


def test_a_student_below_the_target_at_every_threshold_is_never_certified() -> None:
    bad = Served(np.linspace(0.1, 0.9, 300), np.zeros(300, bool), np.arange(300) % 4 > 0)
    assert max(one["chance"] for one in more_labels([bad], 10_000, Goal(0.95))) <= 0.02


def test_so_few_labels_that_none_calibrate_have_no_chance() -> None:
    assert more_labels([served(60, 1)], 60, Goal(0.95))[0]["chance"] == 0.0


def test_a_label_costs_about_a_hundredth_of_a_cent() -> None:
    assert price(1000) == pytest.approx(0.095, abs=0.02)
