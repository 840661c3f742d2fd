import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control.fwer_control import control_fwer

from training.evaluation.calibrate import fit_temperature, log_likelihood
from training.evaluation.certificate import RULES_ALONE, TARGETS, certify, delta_shares, thresholds_to_test
from training.evaluation.statistics import binomial_p_value


def summed_tail(errors: int, accepted: int, most: float) -> float:
    log_odds, term, total = math.log(most) - math.log1p(-most), accepted * math.log1p(-most), 0.0
    for k in range(errors + 1):
        total += math.exp(term)
        term += math.log((accepted - k) / (k + 1)) + log_odds if k < accepted else 0.0
    return min(1.0, total)


@given(st.integers(0, 60), st.integers(0, 2000), st.floats(0.005, 0.3))
def test_the_p_value_is_the_binomial_tail(errors: int, extra: int, most: float) -> None:
    accepted = errors + extra
    assert binomial_p_value(errors, accepted, most) == pytest.approx(summed_tail(errors, accepted, most), abs=1e-9)


def sample(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores in (0, 1) whose chance of being right is the score, squeezed towards 1."""
    scores = rng.beta(4, 1, size)
    return scores, rng.random(size) < 1 - (1 - scores) ** 1.5


def test_the_promise_is_kept_over_many_draws() -> None:
    rng = np.random.default_rng(0)
    delta, draws, broken = 0.1, 300, 0
    scores, correct = sample(np.random.default_rng(99), 400_000)
    for _ in range(draws):
        order = thresholds_to_test(*sample(rng, 400), 0.95)
        threshold = certify(order, *sample(rng, 600), 0.95, delta).accept_above
        broken += threshold is not None and (~correct[scores > threshold]).mean() > 0.05
    assert broken / draws <= delta + 2 * math.sqrt(delta * (1 - delta) / draws)


@given(st.integers(0, 2**32 - 1), st.sampled_from(TARGETS))
def test_candidates_come_from_dev_alone_and_get_ever_looser(seed: int, target: float) -> None:
    scores, correct = sample(np.random.default_rng(seed), 150)
    order = thresholds_to_test(scores, correct, target)
    assert order == sorted(order, reverse=True)
    assert order[-1] < scores.min()


def test_testing_stops_at_the_first_failure() -> None:
    scores = np.array([0.9] * 400 + [0.5] * 20 + [0.1] * 2000)
    correct = np.array([True] * 400 + [False] * 20 + [True] * 2000)
    certificate = certify([0.8, 0.4, 0.0], scores, correct, 0.97, 0.05)
    assert certificate.accept_above == 0.8  # 0.0 would pass again, but comes after a failure
    assert (certificate.accepted, certificate.agreement) == (400, 1.0)


@given(st.integers(0, 2**32 - 1), st.sampled_from(TARGETS), st.floats(0.001, 0.3))
def test_what_is_certified_is_what_mapies_fixed_sequence_test_rejects(seed: int, target: float, delta: float) -> None:
    rng = np.random.default_rng(seed)
    order = thresholds_to_test(*sample(rng, 150), target)
    scores, correct = sample(rng, 300)
    parts = [correct[scores > threshold] for threshold in order]
    p_values = [summed_tail(int((~part).sum()), len(part), 1 - target) for part in parts]
    rejected = control_fwer(np.array(p_values), delta, "fixed_sequence")
    certified = certify(order, scores, correct, target, delta).accept_above
    assert certified == (order[rejected[-1]] if len(rejected) else None)


def test_a_threshold_may_be_zero_or_not_exist() -> None:
    right = np.ones(500, bool)
    assert certify([0.0], np.full(500, 0.5), right, 0.95, 0.05).accept_above == 0.0
    none = certify([0.0], np.full(500, 0.5), ~right, 0.95, 0.05)
    assert (none.accept_above, none.coverage, none.accepted) == (None, 0.0, 0)


def with_rules(
    part: tuple[np.ndarray, np.ndarray], share: float, precision: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The sample with a random share of rows answered by rules, right with the given probability."""
    scores, correct = part
    ruled = rng.random(len(scores)) < share
    return np.where(ruled, np.inf, scores), np.where(ruled, rng.random(len(scores)) < precision, correct)


@given(st.integers(0, 2**32 - 1), st.sampled_from(TARGETS), st.sampled_from([0.02, 0.5, 1.0]))
def test_with_rules_the_strictest_threshold_leaves_the_rules_alone(seed: int, target: float, share: float) -> None:
    rng = np.random.default_rng(seed)
    scores, correct = with_rules(sample(rng, 150), share, 1.0, rng)
    scores[0] = np.inf
    order = thresholds_to_test(scores, correct, target)
    assert order == sorted(order, reverse=True)
    assert order[-1] < scores.min()
    assert max(order) <= RULES_ALONE
    no_student = thresholds_to_test(scores, np.isinf(scores), target)
    assert no_student[0] == RULES_ALONE


def test_what_rules_answer_is_accepted_at_every_threshold() -> None:
    scores = np.array([np.inf] * 400 + [0.9] * 100 + [0.5] * 100)
    correct = np.array([True] * 500 + [False] * 100)
    certificate = certify([RULES_ALONE, 0.8, 0.4], scores, correct, 0.97, 0.05)
    assert (certificate.accept_above, certificate.accepted, certificate.agreement) == (0.8, 500, 1.0)
    rules_alone = certify([RULES_ALONE, 0.8], scores, np.isinf(scores), 0.97, 0.05)
    assert (rules_alone.accept_above, rules_alone.accepted) == (RULES_ALONE, 400)


def test_bad_rules_cost_the_certificate_however_good_the_student() -> None:
    rng = np.random.default_rng(3)
    scores = np.array([np.inf] * 300 + [0.9] * 700)
    correct = np.concatenate([rng.random(300) < 0.8, np.ones(700, bool)])
    order = thresholds_to_test(np.array([0.5, 0.9, np.inf] * 50), np.ones(150, bool), 0.95)
    assert certify(order[:2], scores, correct, 0.95, 0.05).accept_above is None


def test_the_promise_is_kept_with_rules_over_many_draws() -> None:
    rng = np.random.default_rng(4)
    delta, draws, broken, granted = 0.1, 200, 0, 0
    truth = with_rules(sample(rng, 200_000), 0.2, 0.94, rng)  # the rules alone would break it
    for _ in range(draws):
        dev, calibration = (with_rules(sample(rng, size), 0.2, 0.94, rng) for size in (400, 1500))
        threshold = certify(thresholds_to_test(*dev, 0.95), *calibration, 0.95, delta).accept_above
        granted += threshold is not None
        broken += threshold is not None and (~truth[1][truth[0] > threshold]).mean() > 0.05
    assert granted > 0
    assert broken / draws <= delta + 2 * math.sqrt(delta * (1 - delta) / draws)


def test_too_few_rows_certify_nothing() -> None:
    assert certify([0.0], np.full(20, 0.5), np.ones(20, bool), 0.95, 0.05).accept_above is None


@pytest.mark.parametrize("target", [*TARGETS, 0.5, 0.96, 0.999])
def test_the_users_target_gets_most_of_delta_and_the_others_share_the_rest(target: float) -> None:
    shares = delta_shares(0.04, target)
    assert set(shares) == {*TARGETS, target}
    assert list(shares) == sorted(shares)
    assert sum(shares.values()) == pytest.approx(0.04)
    others = {share for other, share in shares.items() if other != target}
    assert len(others) == 1
    assert shares[target] > 2 * sum(share for other, share in shares.items() if other != target)


def test_an_intent_that_is_never_accepted_is_accepted_at_no_threshold() -> None:
    scores = np.array([0.9] * 300 + [-np.inf] * 300)
    correct = np.array([True] * 300 + [False] * 300)
    order = thresholds_to_test(scores, correct, 0.95)
    assert np.isfinite(order).all()
    certificate = certify(order, scores, correct, 0.95, 0.05)
    assert (certificate.accepted, certificate.coverage, certificate.agreement) == (300, 0.5, 1.0)
    assert thresholds_to_test(scores[300:], correct[300:], 0.95) == []
    assert certify([], scores, correct, 0.95, 0.05).accept_above is None


def drawn(temperature: float, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from them at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, 4))
    shares = np.exp(logits / temperature)
    shares /= shares.sum(1, keepdims=True)
    return logits, (shares.cumsum(1) < rng.random((rows, 1))).sum(1)


def golden_section(logits: np.ndarray, labels: np.ndarray) -> float:
    low, high, ratio = math.log(0.05), math.log(20.0), (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_likelihood(logits, labels, math.exp(left)) > log_likelihood(logits, labels, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


@given(st.floats(0.2, 5), st.integers(0, 2**32 - 1))
def test_the_temperature_is_the_one_that_golden_section_finds(temperature: float, seed: int) -> None:
    logits, labels = drawn(temperature, 100, seed)
    assert fit_temperature(logits, labels) == pytest.approx(golden_section(logits, labels), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature, 20_000, 2)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)
