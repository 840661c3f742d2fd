import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.log.audits import Audited
from inference.log.counts import DAY_S
from inference.log.promise import Keeps, Promise
from inference.log.rates import Choice, Seen, change
from training.data.looks import BaseLooks
from training.evaluation.statistics import binomial_p_value
from training.lifecycle.live import REFUSED, SHARES, UNANSWERED, LiveRow, split_of
from training.lifecycle.window import (
    HOUR_S,
    LIVE_LOOKS,
    OTHER,
    Requests,
    Sample,
    WindowLooks,
    choose_rate,
    next_share,
    sample,
    select,
)

TARGET = 0.95
ANY: Keeps = lambda answer, target, gone: True  # noqa: E731


def request(name: int, hour: float = 0.0, label: str = "account", **more: object) -> LiveRow:
    drawn = {"request": f"r{name}", "number": 0.0001, "rate": 0.01, "question": "q"} | more
    row = LiveRow(f"k{name}", f"text {name}", label, "t", "p", "calibration", 1, hour * HOUR_S, **drawn)  # type: ignore[arg-type]
    return replace(row, why=row.why or ("" if label else UNANSWERED))


def judging(*rows: LiveRow, suspect: tuple[int, ...] = (), window: int = 1000, least: int = 1) -> Sample:
    return sample(rows, "q", suspect, window, least)


def names(found: Sample) -> list[str]:
    return [row.request for row in found.rows]


def test_each_request_is_a_row_of_its_own_however_often_its_text_comes() -> None:
    rows = [replace(request(i, i), key="k", text="the same") for i in range(5)]
    assert names(judging(*rows)) == ["r0", "r1", "r2", "r3", "r4"]


def test_texts_that_train_and_rows_of_another_question_do_not_judge() -> None:
    text = LiveRow("k", "t", "account", "t", "p", "train", 1, 0.0, question="q")
    old = LiveRow("k2", "t2", "account", "t", "p", "calibration", 1, 0.0)
    found = judging(text, old, request(1), request(2, question="another"))
    assert names(found) == ["r1"]
    assert found.tally == {"requests of another question": 1}


def test_a_refusal_stays_and_the_hour_of_an_unanswered_request_goes() -> None:
    refused = request(2, 3.1, label="", why=REFUSED)
    found = judging(request(1, 1.2), request(3, 2.5, label=""), request(4, 2.9), refused)
    assert names(found) == ["r1", "r2"]
    assert [row.request for row in found.holes] == ["r3"]
    assert (found.hours, found.tally) == (1, {"answered requests of cut hours": 1})


def test_a_sample_of_refusals_alone_does_not_judge() -> None:
    rows = [replace(request(i, i), split=split) for i, split in enumerate(SHARES)]
    assert judging(*rows).complete
    assert not judging(*rows[:2]).complete
    assert not judging(*rows[:2], replace(rows[2], label="", why=REFUSED)).complete


def test_a_suspect_round_neither_gates_nor_certifies() -> None:
    found = judging(request(1), replace(request(2, 1.5), round=2), suspect=(2,))
    assert names(found) == ["r1"]
    assert found.tally == {"requests of suspect rounds": 1}
    assert not found.holes


def test_a_suspect_round_that_asked_about_one_intent_again_leaves_no_sample_of_the_others() -> None:
    labels = ["account", "payments"] * 20
    rows = [replace(request(i, i / 4, label), round=2 if label == "payments" else 1) for i, label in enumerate(labels)]
    found = judging(*rows, request(100, 50), suspect=(2,))
    assert names(found) == ["r100"]
    assert found.tally == {"requests of suspect rounds": 20, "answered requests of cut hours": 20}


def test_the_reference_is_who_labels_now() -> None:
    earlier = [replace(request(i, i), labeler="before") for i in range(300)]
    now = [request(1000 + i, 400 + i) for i in range(120)]
    assert names(judging(*earlier, *now)) == [row.request for row in now]
    prompt = replace(request(5000, 2000), prompt_id="another")  # one of another prompt is not the reference yet
    assert judging(*earlier, *now, prompt).tally == {OTHER: 301}


def test_hours_in_which_a_second_teacher_answered_what_the_first_could_not_are_cut_out() -> None:
    rows = [request(i, i / 4) for i in range(400)]
    rows[8] = replace(rows[8], labeler="second")
    found = judging(*rows)
    assert names(found) == [row.request for i, row in enumerate(rows) if i // 4 != 2]
    assert found.tally == {OTHER: 4}


def test_one_intent_that_another_teacher_was_asked_about_again_is_not_left_out_alone() -> None:
    rows = [request(i, i / 4, ["account", "payments"][i % 2]) for i in range(400)]
    again = [replace(row, labeler="recorded") if row.label == "payments" else row for row in rows]
    now = [request(1000 + i, 400 + i, ["account", "payments"][i % 2]) for i in range(120)]
    assert names(judging(*again, *now)) == [row.request for row in now]


def test_two_rates_are_thinned_to_the_lower_one() -> None:
    day_zero = [request(i, i, rate=0.45, number=0.45 * i / 100) for i in range(100)]
    serving = [request(1000 + i, 200 + i, rate=0.01, number=0.01 * i / 100) for i in range(100)]
    found = judging(*day_zero, *serving)
    assert names(found) == ["r0", "r1", "r2", *(row.request for row in serving)]
    assert found.tally == {"requests thinned to one rate": 97}


def test_day_zero_judges_alone_while_the_lower_rate_has_too_few() -> None:
    day_zero = [request(i, i, rate=0.45, number=0.45 * i / 100) for i in range(100)]
    serving = [request(1000 + i, 200 + i, rate=0.01, number=0.001) for i in range(5)]
    assert names(judging(*day_zero, *serving, least=50))[:100] == [row.request for row in day_zero]


def test_of_two_services_with_rates_of_their_own_both_judge() -> None:
    web = [request(i, i, rate=0.01, number=0.01 * i / 100) for i in range(100)]
    app = [request(1000 + i, i / 8 + 0.5, rate=0.20, number=0.20 * i / 800) for i in range(800)]
    judges = judging(*web, *app, least=50)  # the app alone would be eight times as many
    assert {row.rate for row in judges.rows} == {0.01, 0.20}
    assert all(row.number is not None and row.number < 0.01 for row in judges.rows)


def test_the_window_keeps_the_newest_of_every_split() -> None:
    splits = ["dev", "calibration", "test"] * 30
    rows = [replace(request(i, i), split=split) for i, split in enumerate(splits)]
    found = judging(*rows, window=10)
    assert len(found.split("calibration")) == 10
    assert names(found) == [row.request for row in rows if row.time >= found.rows[0].time]
    assert {row.split for row in found.rows} == set(SHARES)


def auto_history(number: int, days: int = 30, requests: int = 5_000) -> tuple[Requests, np.ndarray, int]:
    """Accepted requests of some weeks, sampled at the rate that sets itself, of which just the target's share is right:
    which are, and how many epochs there were.
    """
    rng, watched, choice, epochs = np.random.default_rng([number, 5]), Promise("q", TARGET, (), ANY), None, 0
    parts: list[tuple[np.ndarray, ...]] = []
    for start in np.arange(0.0, days * DAY_S, DAY_S / 2):
        why = Seen(*watched.of("b"), TARGET, watched.evidence, False).why
        rate = change(choice, why, requests, 100.0, start)
        if rate is not None:
            choice, epochs = Choice(start, "q", rate, why), epochs + 1
        assert choice is not None
        n = rng.binomial(requests // 2, choice.rate)
        times, right = start + np.sort(rng.random(n)) * DAY_S / 2, rng.random(n) < TARGET
        watched.add([Audited(0.0, "b", "", None, "student", bool(yes)) for yes in right], TARGET)
        parts.append((times, np.full(n, choice.rate), rng.random(n) * choice.rate, right))
    times, rates, numbers, right = (np.concatenate(column) for column in zip(*parts, strict=True))
    n = len(times)
    calibrates = split_of(numbers) == "calibration"
    return Requests(times, rates, numbers, np.ones(n, bool), np.zeros(n, int), calibrates), right, epochs


def test_a_rate_that_depends_on_earlier_answers_breaks_no_certificate() -> None:
    delta, histories, broken, most = 0.05, 150, 0, 0
    for number in range(histories):
        requests, right, epochs = auto_history(number)
        judged = right[select(requests, 3000, 300)["window"] & requests.calibrates]
        broken += bool(binomial_p_value(int((~judged).sum()), len(judged), 1 - TARGET) <= delta)
        most = max(most, epochs)
    assert most > 2
    assert broken / histories <= delta + 3 * math.sqrt(delta * (1 - delta) / histories)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.45, 0.1, 0.01]), st.floats(0, 1, exclude_max=True)), max_size=60),
    st.integers(1, 30),
)
def test_what_judges_was_sampled_at_one_rate(drawn: list[tuple[float, float]], least: int) -> None:
    rows = [request(i, i, rate=rate, number=rate * u) for i, (rate, u) in enumerate(drawn)]
    found = judging(*rows, least=least).rows
    rate = min((row.rate or 0 for row in found), default=1.0)
    assert all((row.number or 0) < rate for row in found)
    lower = [row.time for row in rows if (row.rate or 0) < rate]
    alone = [row for row in rows if not lower or not min(lower) <= row.time <= max(lower)]
    assert all(row in alone for row in found)
    left_out = [row for row in alone if row not in found]
    assert not any((row.rate or 0) >= rate and (row.number or 0) < rate for row in left_out if found)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_rate_does_not_depend_on_labels_or_their_order_within_an_epoch(seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    rates = np.repeat([0.45, 0.01], 20)
    found = Requests(
        np.arange(40.0), rates, rng.random(40) * rates, np.ones(40, bool), np.zeros(40, int), rng.random(40) < 0.5
    )
    order = np.concatenate([rng.permutation(20), 20 + rng.permutation(20)])
    assert choose_rate(found, least) == choose_rate(found.of(order), least)


steps = st.lists(st.integers(1, 400), min_size=1, max_size=60)


@settings(deadline=None)
@given(steps, st.integers(1, 500), st.floats(1e-4, 0.2))
def test_the_looks_at_any_one_row_spend_delta_at_most(new: list[int], window: int, delta: float) -> None:
    spent, looks, total = np.zeros(sum(new)), [], 0
    for count in new:
        total += count
        rows = np.arange(max(0, total - window), total)
        share = next_share(looks, rows.astype(float), window, delta)
        looks.append((float(rows[0]), float(rows[-1]), share))
        spent[rows] += share
        assert 0 < share <= delta / 2
    assert spent.max() <= delta * (1 + 1e-9)


def test_a_look_a_day_goes_on_certifying() -> None:
    looks: list[tuple[float, float, float]] = []
    for day in range(365):
        times = np.arange(day * 30.0, day * 30.0 + 1650)
        looks.append((times[0], times[-1], next_share(looks, times, 1650, 0.05)))
    assert min(share for _, _, share in looks) > 0.0001
    assert looks[-1][2] > 6 * 0.05 / (math.pi**2 * 365**2) * 100  # what a fixed set of rows would have left


def test_a_look_is_on_disk_and_the_same_model_is_no_new_one(tmp_path: Path) -> None:
    file = tmp_path / "looks.json"
    first = WindowLooks(file, [1.0, 2.0, 3.0], 3).spend(0.04, "model a")
    assert (first.number, first.delta) == (1, 0.02)
    assert WindowLooks(file, [1.0, 2.0, 3.0], 3).spend(0.04, "model a") == first
    second = WindowLooks(file, [2.0, 3.0, 4.0], 3).spend(0.04, "model b")
    assert second.number == 2
    assert 0 < second.delta < first.delta
    file.write_text("{")
    with pytest.raises(ValueError, match=r"looks\.json is damaged"):
        WindowLooks(file, [1.0], 3).spend(0.04, "model c")


def test_looks_at_base_data_may_be_kept_in_the_same_folder(tmp_path: Path) -> None:
    BaseLooks(tmp_path).spend(0.04, "base model")  # as where the data's folder cannot be written
    live = WindowLooks(tmp_path / LIVE_LOOKS, [1.0, 2.0, 3.0], 3)
    assert live.spend(0.04, "live model").number == 1
    assert BaseLooks(tmp_path).spend(0.04, "another").number == 2


def test_a_label_that_was_mapped_is_of_the_newest_prompt_of_its_labeler() -> None:
    mapped = [replace(request(i, i), prompt_id="") for i in range(5)]
    other = replace(request(9, 9), prompt_id="", labeler="another")
    now = [request(1000 + i, 400 + i) for i in range(120)]
    assert names(judging(*mapped, other, *now)) == [row.request for row in (*mapped, *now)]
