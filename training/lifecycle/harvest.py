"""From the decision log to live rows: what it holds that is not known yet."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from inference.common.text import canonical
from inference.log.counts import DAY_S
from inference.log.decision_log import Correction, Decision, DecisionLog, TeacherAnswer
from training.data.rows import text_key
from training.data.splits import pick
from training.lifecycle.live import DROPPED, FORGOTTEN, HUMAN, REFUSED, SHARES, UNANSWERED, LiveRow, split_of

LATE_DAYS = 7.0
OLD_DAY_ZERO = 0.45  # before 0.3.0 the sample of day zero was this share of requests, by a hash of their id


@dataclass
class Harvest:
    """New rows, and known requests of the sample that have their answer now. `unanswered` are texts by query key that
    would train and still need a teacher.
    """

    rows: list[LiveRow] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
    tally: collections.Counter[str] = field(default_factory=collections.Counter)


def harvest(
    log: DecisionLog, known: Sequence[LiveRow], since: float, until: float, number: int, question: str, salt: str
) -> Harvest:
    """What the log holds up to `until` that `known` does not, as rows of round `number`.

    It was harvested up to `since` before; rows may reach a log long after their time, from a spill file for one, so a
    week before that is looked at again. `question` is the id of the question that is asked now; rows of another one
    keep theirs. Requests are told apart by their random numbers, so that a retry counts once.
    """
    since = max(0.0, since - LATE_DAYS * DAY_S)
    log_of = _Log(log, since, until, {row.key: row for row in known if not row.request}, question, salt)
    found = Harvest(tally=collections.Counter())
    found.rows += _requests(log_of, known, number, found.tally)
    found.rows += _texts(log_of, number, salt, found.tally)
    found.rows += _corrections(log_of, [*known, *found.rows], number, found.tally)
    taken = {row.key.partition(":")[0] for row in (*known, *found.rows) if not row.request and row.split != DROPPED}
    taken |= log_of.answered
    found.unanswered = {key: text for key, text in log_of.wanted.items() if key not in taken}
    found.tally["never answered"] = len(found.unanswered) + sum(row.why == UNANSWERED for row in found.rows)
    return found


@dataclass
class _Given:
    """What teachers said of one text: the first answer, the first of a sample of before 0.3.0 and how many of that, and
    all labels.
    """

    first: TeacherAnswer
    sampled: TeacherAnswer | None = None
    requests: int = 0
    votes: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, answer: TeacherAnswer, in_old_sample: bool) -> None:
        self.votes[canonical(str(answer.label))] += 1
        if in_old_sample:
            self.sampled = self.sampled or answer
            self.requests += 1


class _Log:
    """A period of the log, read once from its beginning to its end: what is kept of it grows with the sample and with
    the number of different texts, not with the number of requests.

    `judging` are the decisions of the sample, `own` their answers by row id. `given` is what is news of each text, None
    where nothing is. `answered` are the keys of texts with a label, `wanted` texts that should have one, by key.
    """

    def __init__(
        self, log: DecisionLog, since: float, until: float, known: Mapping[str, LiveRow], question: str, salt: str
    ) -> None:
        self.judging: dict[str, Decision] = {}
        self.own: dict[str, list[TeacherAnswer]] = collections.defaultdict(list)
        self.given: dict[str, _Given | None] = {}
        self.answered: set[str] = set()
        self.wanted: dict[str, str] = {}
        self._of_old: set[str] = set()  # row ids of before 0.3.0: of the sample, or of day zero and drawn for it
        self._salt = salt
        for decision in log.read_open(since, until):
            self._decide(decision)
        for answer in log.read_answers(since, until):
            self._answer(answer, known, question)
        self.corrections = list(log.read_corrections(since, until))

    def _decide(self, decision: Decision) -> None:
        if decision.sampled and decision.number is not None:
            self.judging[decision.id] = decision
            return
        if decision.sampled or (
            decision.bundle_id is None and not decision.epoch and _of_day_zero(decision.id, self._salt)
        ):
            self._of_old.add(decision.id)
        if decision.sampled or decision.source == "fallback":
            self.wanted[text_key(decision.text)] = decision.text

    def _answer(self, answer: TeacherAnswer, known: Mapping[str, LiveRow], question: str) -> None:
        own, old = self._is_own(answer), answer.sampled or answer.request_id in self._of_old
        if own:
            self.own[answer.request_id].append(answer)
        if answer.label is None:
            return
        key = text_key(answer.text)
        self.answered.add(key)
        if own:
            return
        before = known.get(key)
        if before is not None and not _unknown(before, answer, question):
            self.given.setdefault(key, None)
            return
        given = self.given.get(key) or _Given(answer)
        given.add(answer, old)
        self.given[key] = given

    def _is_own(self, answer: TeacherAnswer) -> bool:
        """Whether an answer was given to a request of the sample, and does nothing but judge it."""
        if not answer.sampled or answer.request_id in self._of_old:
            return False
        # Where the decision was lost, an answer without a question is one of before 0.3.0.
        return answer.request_id in self.judging or bool(answer.question_id)


def _of_day_zero(id: str, salt: str) -> bool:
    """Whether a request of before 0.3.0, answered before there was a bundle, was drawn for that time's sample."""
    return pick(id, (1 - OLD_DAY_ZERO, OLD_DAY_ZERO, 0.0, 0.0), salt) == "dev"


def _requests(log: _Log, known: Iterable[LiveRow], number: int, tally: collections.Counter[str]) -> Iterable[LiveRow]:
    known = list(known)
    own, seen = log.own, {row.number: row for row in known if row.request}
    forgotten = {row.key for row in known if row.split == FORGOTTEN}
    tries: dict[float, list[Decision]] = collections.defaultdict(list)
    for decision in log.judging.values():
        tries[decision.number or 0.0].append(decision)
    usual = _usual(own)
    for drawn, decisions in tries.items():
        answers = sorted((a for d in decisions for a in own.get(d.id, ())), key=lambda a: (a.teacher != usual, a.time))
        before = seen.get(drawn)
        if before is None and text_key(decisions[0].text) in forgotten:
            tally["of a forgotten text"] += 1
        elif before is None:
            tally["of the uniform sample"] += 1
            yield _request(decisions[0], answers[0] if answers else None, number)
        # One that had an answer before lost it to --drop-round or to another question: the log's does not come back.
        elif before.why == UNANSWERED and not before.labeler and answers and before.split in SHARES:
            yield _answered(before, answers[0], number)


def _usual(own: dict[str, list[TeacherAnswer]]) -> str:
    """The teacher that answered most requests. Where it is late for a caller's deadline, the next one is asked too and
    may answer first: that depends on whether the request was deferred, so the usual one's answer counts all the same.
    """
    asked = collections.Counter(name for answers in own.values() for name in {answer.teacher for answer in answers})
    return max(sorted(asked), key=lambda name: asked[name], default="")


def _request(decision: Decision, answer: TeacherAnswer | None, number: int) -> LiveRow:
    row = LiveRow(
        text_key(decision.text), decision.text, "", "", "", str(split_of(decision.number or 0.0)), number,
        decision.time, request=decision.id, number=decision.number, rate=decision.rate, epoch=decision.epoch,
        question=decision.question_id, why=UNANSWERED,
    )  # fmt: skip
    return row if answer is None else _answered(row, answer, number)


def _answered(row: LiveRow, answer: TeacherAnswer, number: int) -> LiveRow:
    """The usual teacher's first answer counts, a refusal too: what another said after it was chosen by the text."""
    return replace(
        row,
        label=answer.label or "",
        why="" if answer.label is not None else REFUSED,
        labeler=answer.teacher,
        prompt_id=answer.prompt_id,
        question=answer.question_id or row.question,
        round=number,
    )


def _texts(log: _Log, number: int, salt: str, tally: collections.Counter[str]) -> Iterable[LiveRow]:
    """Rows by text: what was deferred and answered trains."""
    for key, given in log.given.items():
        if given is None:
            tally["labelled before"] += 1
        else:
            yield _text(key, given, number, salt, tally)


def _unknown(before: LiveRow, answer: TeacherAnswer, question: str) -> bool:
    """Whether a known text's answer is news: its labels were dropped before, or are of another question."""
    if before.split == FORGOTTEN or before.human:
        return False
    dropped = before.split == DROPPED and answer.time > before.time
    return dropped or (before.question != question and answer.question_id == question)


def _text(key: str, given: _Given, number: int, salt: str, tally: collections.Counter[str]) -> LiveRow:
    first, votes = given.sampled or given.first, given.votes
    sampled = given.sampled is not None
    shares = {name: count / votes.total() for name, count in sorted(votes.items())}
    tally["of the uniform sample" if sampled else "deferred and answered"] += 1
    return LiveRow(
        key,
        first.text,
        str(first.label) if sampled else votes.most_common(1)[0][0],
        first.teacher,
        first.prompt_id,
        pick(key, (0.0, *SHARES.values()), salt) if sampled else "train",
        number,
        first.time,
        max(1, given.requests),
        shares if not sampled and len(shares) > 1 else None,
        question=first.question_id,
    )


def _corrections(
    log: _Log, known: Iterable[LiveRow], number: int, tally: collections.Counter[str]
) -> Iterable[LiveRow]:
    """What persons said trains; of several corrections of a text the newest counts. Each is taken once."""
    by_key = {row.key: row for row in known if not row.request}
    judged = {row.request: row for row in known if row.request}
    newest: dict[str, Correction] = {}
    for correction in log.corrections:
        key, asked = text_key(correction.text), judged.get(correction.request_id)
        tally["corrected by a person"] += 1
        said = asked or by_key.get(key)
        tally["corrections that contradict the teacher"] += (
            said is not None and bool(said.label) and not said.human and said.label != correction.intent
        )
        newest[key] = max(newest.get(key, correction), correction, key=lambda row: row.time)
    for key, correction in newest.items():
        before = by_key.get(f"{key}:{HUMAN}") or by_key.get(key)
        if before is not None and (before.split == FORGOTTEN or (before.human and before.time >= correction.time)):
            continue
        own = before.key if before is not None and before.human else f"{key}:{HUMAN}" if before else key
        yield LiveRow(
            own, correction.text, correction.intent, HUMAN, "", "train", number, correction.time,
            question=correction.question_id,
        )  # fmt: skip
