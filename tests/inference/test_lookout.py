import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.manifest import SCHEMA, IntentCertificate
from inference.log.audits import BLIND_AFTER, LATE_S, Audits
from inference.log.decision_log import DecisionLog
from inference.log.lookout import RECENT, Lookout, Serving
from inference.log.marks import BY_BUNDLE, BY_HAND, KIND, NOTHING, Alarm, End, Marks, read_marks
from inference.log.rows import Count
from tests.audited import audited, write, write_version
from tests.services import fresh_database, postgres_url

START = 1_790_000_000.0
WRONG, RIGHT = [False] * 40, [True] * 200
SERVING = Serving("q1", 0.95, (0.97, 0.99), 0.0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DecisionLog]:
    log = DecisionLog(tmp_path / "log.db")
    yield log
    log.close()


@pytest.fixture
def bundle_id(tmp_path: Path) -> str:
    return write_version(tmp_path).bundle_id


def look(log: DecisionLog, home: Path, now: float = START + 10_000, serving: Serving = SERVING) -> Lookout:
    """What a process that starts now finds; its marks are written."""
    lookout = Lookout(log, home, log.note)
    lookout.look(serving, now)
    log.close()
    return lookout


def seen(lookout: Lookout) -> tuple[int, int]:
    assert lookout.promise is not None
    return lookout.promise.agreed, lookout.promise.asked


def test_right_answers_are_counted_and_no_alarm(log: DecisionLog, tmp_path: Path, bundle_id: str) -> None:
    write(log, audited(RIGHT, START, bundle_id))
    lookout = look(log, tmp_path)
    assert (lookout.alarm, seen(lookout)) == (None, (200, 200))


def test_a_broken_promise_tightens_to_the_loosest_threshold_that_nothing_speaks_against(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    sure = audited(RIGHT, START, bundle_id, confidence=0.95)
    write(log, [*sure, *audited(WRONG, START + 500, bundle_id, confidence=0.6)])
    alarm = look(log, tmp_path).alarm
    assert alarm is not None
    assert (alarm.target, alarm.to) == (0.95, 0.97)


def test_answers_that_name_an_intent_with_a_target_of_its_own_are_not_watched(log: DecisionLog, tmp_path: Path) -> None:
    own = IntentCertificate(0.99, 0.01, 0.5, intent="payments")
    bundle = write_version(tmp_path, schema=SCHEMA, intents=(own,)).bundle_id
    write(log, audited(WRONG, START, bundle))
    lookout = look(log, tmp_path)
    assert (lookout.alarm, seen(lookout)) == (None, (0, 0))
    write(log, audited(WRONG, START + 500, "of a bundle that is gone"))
    # What the serving bundle has a target of its own for may have had one there.
    lookout = look(log, tmp_path, serving=SERVING._replace(own=("payments",)))
    assert (lookout.alarm, seen(lookout)) == (None, (0, 0))
    assert look(log, tmp_path).alarm is not None


def test_a_stricter_threshold_that_is_broken_too_is_passed_over(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    write(log, audited(WRONG, START, bundle_id, confidence=0.8))
    alarm = look(log, tmp_path).alarm
    assert alarm is not None
    assert alarm.to == 0.99
    assert look(log, tmp_path).alarm == alarm, "a restart comes to the same"


def test_a_stricter_target_is_not_judged_by_what_a_looser_one_accepted(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    write(log, audited(WRONG, START, bundle_id, confidence=0.6))
    stricter = Serving("q1", 0.99, (), 0.0)
    assert look(log, tmp_path, serving=stricter).alarm is None
    write(log, audited(WRONG, START + 500, bundle_id, confidence=0.95))
    assert look(log, tmp_path, serving=stricter).alarm is not None


def test_a_restart_while_suspended_finds_nothing_worse_in_what_came_before(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    suspect = audited([False] * 8, START, bundle_id, confidence=0.8)  # of the threshold for 0.97, but for a while alone
    sure = audited([True] * 400, START + 100, bundle_id, confidence=0.95)
    write(log, [*suspect, *sure, *audited(WRONG, START + 1000, bundle_id, confidence=0.6)])
    alarm = look(log, tmp_path).alarm
    assert alarm is not None
    assert (alarm.target, alarm.to) == (0.95, 0.97)
    assert look(log, tmp_path).alarm == alarm


def test_a_person_can_end_what_a_newer_bundle_ended_for_itself_alone() -> None:
    alarm, end = Alarm(10.0, "q1", 0.95, NOTHING), End(20.0, "q1", BY_BUNDLE)
    marks = Marks([alarm, end], "q1")
    assert marks.open() is None
    assert marks.broken(0.95) == alarm  # for the bundle of before, to which a rollback leads
    assert marks.unended
    assert not Marks([alarm, end, End(30.0, "q1", BY_HAND)], "q1").unended


def test_where_all_are_broken_nothing_is_accepted(log: DecisionLog, tmp_path: Path, bundle_id: str) -> None:
    write(log, audited(WRONG, START, bundle_id, confidence=0.95))
    alarm = look(log, tmp_path).alarm
    assert alarm is not None
    assert alarm.to == NOTHING


def test_a_log_in_postgresql_is_watched_as_well(tmp_path: Path, bundle_id: str) -> None:
    with postgres_url() as server, fresh_database(server) as url:
        log = DecisionLog(url)
        write(log, audited(WRONG, START, bundle_id))
        alarm = look(log, tmp_path).alarm
        assert alarm is not None
        log.purge(0)
        assert look(log, tmp_path).alarm == alarm._replace(question=SERVING.question)
        assert log.read_processes() == 1.0


def test_a_threshold_that_breaks_after_the_alarm_is_left_for_the_next(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    write(log, audited(WRONG, START, bundle_id, confidence=0.6))
    lookout = look(log, tmp_path)
    write(log, audited(WRONG, START + 20_000, bundle_id, confidence=0.8))
    lookout.look(SERVING, START + 30_000)
    assert lookout.alarm is not None
    assert (lookout.alarm.target, lookout.alarm.to) == (0.95, 0.99)


def test_an_alarm_is_known_to_other_processes_even_without_the_answers(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    write(log, audited(WRONG, START, bundle_id))
    alarm = look(log, tmp_path).alarm
    other = Lookout(DecisionLog(tmp_path / "log.db"), tmp_path)
    other.read_marks(SERVING, START + 10_001)
    assert other.alarm is not None
    assert alarm is not None
    assert (other.alarm.time, other.alarm.to) == (alarm.time, alarm.to)


def test_the_end_of_the_rows_time_does_not_end_an_alarm(log: DecisionLog, tmp_path: Path, bundle_id: str) -> None:
    write(log, audited(WRONG, START, bundle_id))
    alarm = look(log, tmp_path).alarm
    log.count("student", "payments", False, False, True, None, 1.0)
    log.close()
    log.purge(0)
    assert list(log.read_decisions()) == []
    lookout = look(log, tmp_path)
    assert alarm is not None
    assert lookout.alarm is not None
    assert lookout.alarm.time == alarm.time


def test_a_publish_restarts_nothing(log: DecisionLog, tmp_path: Path, bundle_id: str) -> None:
    newer = write_version(tmp_path, day=2).bundle_id
    for part, of in enumerate([bundle_id, newer] * 10):
        write(log, audited([False, False], START + 10 * part, of))
    assert look(log, tmp_path).alarm is not None


def test_answers_to_another_question_are_not_counted(log: DecisionLog, tmp_path: Path, bundle_id: str) -> None:
    write(log, audited(WRONG, START, bundle_id, question="q2"))
    lookout = look(log, tmp_path)
    assert (lookout.alarm, seen(lookout)) == (None, (0, 0))


def test_a_bundle_that_was_calibrated_since_the_alarm_ends_it_and_answers_count_anew(
    log: DecisionLog, tmp_path: Path, bundle_id: str
) -> None:
    write(log, audited(WRONG, START, bundle_id))
    assert look(log, tmp_path).alarm is not None
    newer = SERVING._replace(recent_since=START + 100)
    lookout = look(log, tmp_path, START + 10_001, newer)
    assert lookout.alarm is None
    assert look(log, tmp_path, START + 10_002, SERVING).alarm is not None, "the older bundle is as it was"
    lookout = look(log, tmp_path, START + 10_003, newer)
    assert (lookout.alarm, seen(lookout)) == (None, (0, 0))


def test_a_person_ends_it_for_every_bundle(log: DecisionLog, tmp_path: Path, bundle_id: str) -> None:
    write(log, audited(WRONG, START, bundle_id))
    alarm = look(log, tmp_path).alarm
    assert alarm is not None
    log.note(KIND, End(START + 100, "q1", BY_HAND).key)
    log.close()
    assert look(log, tmp_path).alarm is None
    write(log, audited(WRONG, START + 5000, bundle_id))
    assert look(log, tmp_path).alarm is not None


def test_each_answer_is_taken_once_also_one_that_came_late(log: DecisionLog, bundle_id: str) -> None:
    rows = audited(RIGHT, START, bundle_id)
    late, early = rows[21], [*rows[:21], *rows[22:]]
    write(log, early)
    audits = Audits(log, "q1")
    found = [len(audits.new(START + after)) for after in (100, 100, 150, 400)]
    assert found == [69, 0, 50, 80]
    write(log, [late])
    assert [len(audits.new(START + after)) for after in (401, 402, 401 + LATE_S)] == [1, 0, 0]


def test_it_is_blind_since_the_first_answer_of_which_nobody_said_anything(log: DecisionLog, bundle_id: str) -> None:
    audits = Audits(log, "q1")
    write(log, audited([True] * 10, START, bundle_id))
    write(log, audited([None] * BLIND_AFTER, START + 100, bundle_id))
    audits.new(START + 1000)
    assert audits.blind_since == START + 100
    write(log, audited([True], START + 1100, bundle_id))
    audits.new(START + 1200)
    assert audits.blind_since is None
    audits.new(START + 1201)
    assert audits.blind_since is None, "the hole is over, though its rows are read again"


def test_what_is_certified_says_what_is_watched(tmp_path: Path) -> None:
    manifest = write_version(tmp_path, lineage={RECENT: 12.0})
    assert Serving.of(manifest, "q1", None) == Serving("q1", 0.95, (0.97, 0.99), 12.0)
    assert Serving.of(manifest, "q1", 0.99) == Serving("q1", 0.99, (), 12.0)
    assert Serving.of(manifest, "q1", 0.8) is None


TIMES = st.floats(0, 9)
MARKS = st.lists(
    st.builds(Alarm, TIMES, st.just("q1"), st.sampled_from([0.95, 0.97, 0.99]), st.sampled_from([0.97, 0.99, 1.0]))
    | st.builds(End, TIMES, st.just("q1"), st.sampled_from([BY_HAND, BY_BUNDLE]))
)  # fmt: skip


@given(MARKS, st.floats(0, 9), st.randoms())
def test_marks_read_as_they_were_written_and_their_order_does_not_matter(
    marks: list[Alarm | End],
    recent_since: float,
    shuffled: random.Random,
) -> None:
    counts = [Count(0, KIND, mark.key, 1) for mark in marks] + [Count(0, KIND, "later versions know what", 1)]
    shuffled.shuffle(counts)
    assert read_marks(counts) == set(marks)
    found = Marks(read_marks(counts), "q1").broken(0.95, recent_since)
    assert found == Marks(marks, "q1").broken(0.95, recent_since)
    if found is not None:
        assert found.to > 0.95
        assert found.time > recent_since
        by_hand = [mark.time for mark in marks if isinstance(mark, End) and mark.by == BY_HAND]
        assert found.time > max(by_hand, default=0.0)
