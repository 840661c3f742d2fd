import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from training.evaluation.scored import Served
from training.evaluation.statistics import non_inferiority, rows_needed, worse_intents
from training.lifecycle.gate import MIN_ROWS, Pairs, Verdict, judge


def pairs(lost: int, won: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`rows` paired rows, the discordant ones first, both models right on the rest."""
    champion, challenger = np.ones(rows, bool), np.ones(rows, bool)
    challenger[:lost] = False
    champion[lost : lost + won] = False
    return champion, challenger


def bound(lost: int, won: int, rows: int) -> float:
    return non_inferiority(*pairs(lost, won, rows))


def verdict(lost: int, won: int, rows: int, certified: bool = True, latency: float = 1.0, size: float = 1.0) -> Verdict:
    labels = [f"intent {i % 10}" for i in range(rows)]
    return judge(Pairs(labels, *pairs(lost, won, rows)), certified, 0.95, latency, size)


counts = st.integers(0, 40)


@given(counts, counts, st.integers(100, 3000))
def test_the_bound_lies_above_what_was_seen_and_grows_with_losses_only(lost: int, won: int, rows: int) -> None:
    found = bound(lost, won, rows)
    assert (lost - won) / rows < found <= 1
    assert bound(lost + 1, won, rows) >= found >= bound(lost, won + 1, rows) - 1e-9


@given(counts, counts, st.integers(100, 3000))
def test_one_of_two_models_may_always_be_worse(lost: int, won: int, rows: int) -> None:
    assert bound(lost, won, rows) + bound(won, lost, rows) > 0


@given(counts, st.integers(0, 500))
def test_more_rows_of_the_same_kind_never_loosen_the_bound(discordant: int, extra: int) -> None:
    assert bound(discordant, discordant, 200 + extra) <= bound(discordant, discordant, 200) + 1e-9


@given(st.integers(1, 20_000))
def test_identical_answers_pass_from_299_rows_on(rows: int) -> None:
    assert rows_needed() == 299
    assert (bound(0, 0, rows) <= 0.01) == (rows >= 299)


def bisected_bound(lost: int, won: int, rows: int) -> float:
    """The same bound without a library: Tango's score test and the binomial test, each bisected."""
    z = NormalDist().inv_cdf(0.95)

    def tango_rejects(difference: float) -> bool:
        linear = -lost - won + (2 * rows - lost + won) * difference
        root = math.sqrt(max(0.0, linear**2 + 8 * rows * won * difference * (1 - difference)))
        variance = rows * ((root - linear) / (2 * rows) + difference * (1 - difference))
        return rows * difference - (lost - won) >= z * math.sqrt(max(0.0, variance))

    def binomial_rejects(share: float) -> bool:
        tail = (math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(lost - won + 1))
        return math.fsum(tail) <= 0.05

    def bisected(low: float, rejects: Callable[[float], bool]) -> float:
        high = 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if rejects(middle) else (middle, high)
        return high

    exact = bisected((lost - won) / rows, binomial_rejects) if won <= lost else -1.0
    return max(bisected((lost - won) / rows, tango_rejects), exact)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 120))
def test_the_bound_is_the_bisected_one(lost: int, won: int, same: int) -> None:
    rows = lost + won + same
    assume(rows > 0)
    assert bound(lost, won, rows) == pytest.approx(bisected_bound(lost, won, rows), abs=1e-9)


@given(counts, st.integers(100, 3000))
def test_where_nothing_is_won_the_bound_is_no_bolder_than_the_exact_one(lost: int, rows: int) -> None:
    assert bound(lost, 0, rows) >= beta.ppf(0.95, lost + 1, rows - lost) - 1e-9


def test_the_score_bound_solves_tangos_equation() -> None:
    lost, won, rows = 12, 30, 500
    difference = bound(lost, won, rows)
    # The restricted likelihood by brute force instead of in closed form.
    shares = np.linspace(max(0.0, -difference) + 1e-9, 0.3, 300_001)
    likelihood = (
        lost * np.log(shares + difference)
        + won * np.log(shares)
        + (rows - lost - won) * np.log(1 - 2 * shares - difference)
    )
    share = shares[likelihood.argmax()]
    deviation = math.sqrt(rows * (2 * share + difference * (1 - difference)))
    assert (rows * difference - (lost - won)) / deviation == pytest.approx(1.644854, abs=1e-3)


@pytest.mark.parametrize("rows", [300, 800, 2000])
@pytest.mark.parametrize("discordant", [0.01, 0.02, 0.1])
def test_a_challenger_one_point_worse_passes_in_five_percent_of_runs_at_most(rows: int, discordant: float) -> None:
    rng = np.random.default_rng(rows)
    runs = 1500
    lost, won = (discordant + 0.01) / 2, (discordant - 0.01) / 2
    drawn = rng.multinomial(rows, [lost, won, 1 - lost - won], runs)
    known = {(int(b), int(c)): bound(b, c, rows) for b, c in np.unique(drawn[:, :2], axis=0)}
    passed = sum(known[int(b), int(c)] <= 0.01 for b, c, _ in drawn)
    assert passed / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_a_flipped_intent_is_vetoed_and_the_rest_is_not() -> None:
    labels = ["flipped"] * 30 + ["lucky"] * 30 + ["same"] * 30
    champion, challenger = np.ones(90, bool), np.ones(90, bool)
    challenger[:12] = False
    champion[30:34] = challenger[34:36] = False
    assert worse_intents(labels, champion, challenger) == ["flipped"]
    assert worse_intents(labels, challenger, champion) == []


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=6))
def test_vetoes_are_holms_over_exact_mcnemar_tests(intents: list[tuple[int, int]]) -> None:
    labels = [str(i) for i, (lost, won) in enumerate(intents) for _ in range(lost + won + 5)]
    champion, challenger = (
        np.concatenate(side) for side in zip(*(pairs(b, c, b + c + 5) for b, c in intents), strict=True)
    )
    tested = {str(i): binomtest(b, b + c, alternative="greater").pvalue for i, (b, c) in enumerate(intents) if b + c}
    expected = []
    for left, intent in enumerate(sorted(tested, key=lambda name: tested[name])):
        if tested[intent] > 0.05 / (len(tested) - left):
            break
        expected.append(intent)
    assert sorted(worse_intents(labels, champion, challenger)) == sorted(expected)


def test_a_challenger_nowhere_worse_is_seldom_vetoed() -> None:
    rng = np.random.default_rng(0)
    labels = [str(i // 30) for i in range(900)]
    vetoed = 0
    for _ in range(300):
        vetoed += bool(worse_intents(labels, rng.random(900) < 0.8, rng.random(900) < 0.8))
    assert vetoed / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


def test_a_good_challenger_is_published_with_its_figures() -> None:
    found = verdict(2, 20, 1000)
    assert (found.published, found.reasons) == (True, ())
    assert found.figures["rows"] == 1000
    assert (found.figures["lost"], found.figures["won"], found.figures["vetoed"]) == (2, 20, [])
    assert found.figures["worse_by_at_most"] <= 0


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (verdict(0, 0, 1000, certified=False), "no certificate at the policy's target of 0.95"),
        (verdict(30, 0, 1000), "points less accurate than the champion, more than the 1.00 allowed (30 answers lost"),
        (verdict(0, 0, 1000, latency=1.51), "slower: 1.51 times the champion, more than the 1.50 allowed"),
        (verdict(0, 0, 1000, size=2.0), "larger: 2.00 times the champion"),
        (verdict(0, 0, 1000, latency=math.nan), "slower: nan times"),
        (verdict(0, 0, MIN_ROWS - 1), "99 rows are too few"),
        (verdict(0, 0, 0), "0 rows are too few"),
        (verdict(0, 0, 298), "at least 299 rows are needed even where no answer changes"),
    ],
)
def test_each_condition_that_fails_is_one_sentence(found: Verdict, reason: str) -> None:
    assert not found.published
    assert len(found.reasons) == 1
    assert reason in found.reasons[0]


def test_all_failures_are_told_and_an_intent_may_be_the_only_one() -> None:
    assert len(verdict(30, 0, 1000, certified=False, latency=2, size=2).reasons) == 4
    labels = ["flipped"] * 20 + ["same"] * 4000
    champion, challenger = pairs(15, 0, 4020)
    found = judge(Pairs(np.array(labels), champion, challenger), True, 0.95, 1.0, 1.0)
    assert found == judge(Pairs(labels, champion, challenger), True, 0.95, 1.0, 1.0)
    assert found.reasons == ("it is significantly worse on the intent 'flipped': 15 answers lost and 0 won on 20 rows",)


@pytest.mark.parametrize("certified", [True, False])
def test_without_a_champion_only_the_certificate_counts(certified: bool) -> None:
    found = judge(None, certified, 0.95, math.nan, math.nan)
    assert found.published is certified
    assert len(found.reasons) == (not certified)


@pytest.mark.parametrize(
    ("champion", "challenger", "said"),
    [
        (np.ones(3, bool), np.ones(4, bool), "paired"),
        (np.ones(3), np.ones(3, bool), "champion must be a flat array of bool"),
        (np.ones(0, bool), np.ones(0, bool), "no paired rows"),
    ],
)
def test_bad_input_is_named(champion: np.ndarray, challenger: np.ndarray, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        non_inferiority(champion, challenger)


def test_labels_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="2 labels for 3 paired rows"):
        worse_intents(["a", "b"], np.ones(3, bool), np.ones(3, bool))


def test_significantly_worse_is_a_significant_loss_in_all_or_on_an_intent() -> None:
    assert [verdict(lost, won, 1000).significantly_worse for lost, won in ((0, 0), (12, 8), (8, 12), (30, 10))] == [
        False,
        False,
        False,
        True,
    ]
    labels = ["flipped"] * 20 + ["same"] * 4000
    champion, challenger = pairs(17, 17, 4020)
    assert judge(Pairs(labels, champion, challenger), True, 0.95, 1.0, 1.0).significantly_worse
    assert not judge(None, False, 0.95, 1.0, 1.0).significantly_worse


def accepting(share: float, agreement: float = 1.0, rows: int = 1000) -> Served:
    accepted = np.arange(rows) < share * rows
    return Served(accepted.astype(float), accepted, np.arange(rows) >= (1 - agreement) * share * rows)


@pytest.mark.parametrize(
    ("champion", "challenger", "published"),
    [
        (accepting(0.95), accepting(0.94), True),
        (accepting(0.95), accepting(0.92), False),
        (accepting(0.95, agreement=0.94), accepting(0.80), False),  # within chance
        (accepting(0.95, agreement=0.93), accepting(0.80), True),  # the champion does not keep its promise
        (accepting(0.0), accepting(0.1), True),
        (accepting(0.5), accepting(0.0), False),
    ],
)
def test_a_challenger_that_defers_more_is_kept_back_while_the_champion_keeps_its_promise(
    champion: Served, challenger: Served, published: bool
) -> None:
    labels = ["one"] * 1000
    found = judge(Pairs(labels, *pairs(0, 0, 1000)), True, 0.95, 1.0, 1.0, (champion, challenger))
    assert found.published is published
    assert found.figures["coverage"] == [champion.coverage, challenger.coverage]
    assert [f"accept {challenger.coverage:.1%} of the rows" in reason for reason in found.reasons] == [True] * (
        not published
    )


def test_whether_the_champion_keeps_its_promise_is_seen_on_the_rows_that_it_is_of() -> None:
    sides = accepting(0.95), accepting(0.80)
    found = [
        judge(Pairs(["one"] * 1000, *pairs(0, 0, 1000)), True, 0.95, accepted=sides, promised=promised).published
        for promised in (None, accepting(0.95), accepting(0.95, agreement=0.87))
    ]
    assert found == [False, False, True]
