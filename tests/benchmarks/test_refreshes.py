import numpy as np
import pytest

from benchmarks import refreshes
from benchmarks.certificate import Pool
from training.data.looks import look_delta


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(0)
    scores = rng.beta(4, 1, 4000)
    return Pool(scores, rng.random(4000) < 1 - (1 - scores) ** 1.5)


def test_students_get_slightly_better_and_keep_most_answers(pool: Pool) -> None:
    students = refreshes.Students(pool, np.random.default_rng(0))
    version = students.first
    for _ in range(30):
        previous, version = version, students.after(version)
        assert (previous.correct != version.correct).mean() < 0.02
    assert students.first.correct.mean() < version.correct.mean() < 1


def test_a_lineage_spends_its_delta_and_the_others_spend_it_all_each_time(pool: Pool) -> None:
    lineage, reused, chosen = refreshes.histories(pool, 0.9, 3, np.random.default_rng(0))
    spent = [taken.certificate.delta for taken in lineage]
    assert spent == [look_delta(refreshes.DELTA, number) for number in (1, 2, 3)]
    assert {taken.certificate.delta for taken in (*reused, *chosen)} == {refreshes.DELTA}
    assert len(reused) == len(chosen) == 3


@pytest.mark.parametrize("source", ["accepted", "deferred"])
def test_rows_come_from_the_source_and_the_sample_in_the_stated_shares(source: str) -> None:
    serving = np.arange(1000) < 500
    rows = refreshes.calibration_rows(serving, source, 0.5, 400, np.random.default_rng(0))
    assert len(rows) == 400
    assert set(serving[rows[200:]]) == {source == "accepted"}
    assert set(serving[rows[:200]]) == {True, False}


def test_where_nothing_was_deferred_all_rows_are_a_sample() -> None:
    rows = refreshes.calibration_rows(np.ones(50, bool), "deferred", 1.0, 40, np.random.default_rng(0))
    assert len(rows) == 40


def test_selected_rows_make_the_certificate_too_bold_or_too_cautious(pool: Pool) -> None:
    def agreement_and_coverage(source: str, share: float) -> tuple[float, float]:
        steps = refreshes.mix(pool, 0.95, source, share, 20)
        return refreshes.promised_and_true(steps)[1], float(np.mean([taken.coverage for taken in steps]))

    uniform = agreement_and_coverage("deferred", 0.0)
    assert uniform[0] > 0.95
    assert agreement_and_coverage("accepted", 1.0)[0] < 0.95
    assert agreement_and_coverage("deferred", 0.8)[1] < uniform[1] - 0.05
