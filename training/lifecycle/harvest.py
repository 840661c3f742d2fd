"""From the decision log to live rows: what it holds that is not known yet."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from inference.common.text import canonical
from inference.log.decision_log import Correction, Decision, DecisionLog, TeacherAnswer
from training.data.rows import text_key
from training.data.splits import pick
from training.lifecycle.live import DROPPED, FORGOTTEN, HUMAN, REFUSED, SHARES, UNANSWERED, LiveRow, split_of

DAY_S = 86_400.0
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
    log_of = _Log(log, since, until)
    found = Harvest(tally=collections.Counter())
    found.rows += _requests(log_of, known, number, found.tally)
    found.rows += _texts(log_of, known, number, question, salt, found.tally)
    found.rows += _corrections(log_of, [*known, *found.rows], number, found.tally)
    taken = {row.key.partition(":")[0] for row in (*known, *found.rows) if not row.request and row.split != DROPPED}
    answered = {text_key(answer.text) for answer in log_of.answers if answer.label is not None} | taken
    for decision in log_of.decisions.values():
        wanted = decision.source == "fallback" or decision.sampled
        if wanted and not _judges(decision) and text_key(decision.text) not in answered:
            found.unanswered[text_key(decision.text)] = decision.text
    found.tally["never answered"] = len(found.unanswered) + sum(row.why == UNANSWERED for row in found.rows)
    return found


class _Log:
    """A period of the log."""

    def __init__(self, log: DecisionLog, since: float, until: float) -> None:
        self.decisions = {decision.id: decision for decision in log.read_decisions(since, until)}
        self.answers = list(log.read_answers(since, until))
        self.corrections = list(log.read_corrections(since, until))

    def own(self) -> dict[str, list[TeacherAnswer]]:
        """The answers that judge, by their request's row id."""
        own = collections.defaultdict(list)
        for answer in self.answers:
            if self.is_own(answer):
                own[answer.request_id].append(answer)
        return own

    def is_own(self, answer: TeacherAnswer) -> bool:
        """Whether an answer was given to a request of the sample, and does nothing but judge it."""
        decision = self.decisions.get(answer.request_id)
        # Where the decision was lost, an answer without a question is one of before 0.3.0.
        return answer.sampled and (_judges(decision) if decision else bool(answer.question_id))


def _judges(decision: Decision) -> bool:
    return decision.sampled and decision.number is not None


def _requests(log: _Log, known: Iterable[LiveRow], number: int, tally: collections.Counter[str]) -> Iterable[LiveRow]:
    known = list(known)
    own, seen = log.own(), {row.number: row for row in known if row.request}
    forgotten = {row.key for row in known if row.split == FORGOTTEN}
    tries: dict[float, list[Decision]] = collections.defaultdict(list)
    for decision in log.decisions.values():
        if _judges(decision):
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


def _texts(
    log: _Log, known: Iterable[LiveRow], number: int, question: str, salt: str, tally: collections.Counter[str]
) -> Iterable[LiveRow]:
    """Rows by text: what was deferred and answered trains."""
    seen = {row.key: row for row in known if not row.request}
    answers: dict[str, list[TeacherAnswer]] = collections.defaultdict(list)
    for answer in log.answers:
        if answer.label is not None and not log.is_own(answer):
            answers[text_key(answer.text)].append(answer)
    for key, given in answers.items():
        before = seen.get(key)
        fresh = [answer for answer in given if before is None or _unknown(before, answer, question)]
        if fresh:
            yield _text(log, key, fresh, number, salt, tally)
        else:
            tally["labelled before"] += 1


def _unknown(before: LiveRow, answer: TeacherAnswer, question: str) -> bool:
    """Whether a known text's answer is news: its labels were dropped before, or are of another question."""
    if before.split == FORGOTTEN or before.human:
        return False
    dropped = before.split == DROPPED and answer.time > before.time
    return dropped or (before.question != question and answer.question_id == question)


def _text(
    log: _Log, key: str, given: Sequence[TeacherAnswer], number: int, salt: str, tally: collections.Counter[str]
) -> LiveRow:
    sampled = [answer for answer in given if _in_old_sample(answer, log.decisions.get(answer.request_id), salt)]
    first = (sampled or given)[0]
    votes = collections.Counter(canonical(str(answer.label)) for answer in given)
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
        max(1, len(sampled)),
        shares if not sampled and len(shares) > 1 else None,
        question=first.question_id,
    )


def _in_old_sample(answer: TeacherAnswer, decision: Decision | None, salt: str) -> bool:
    """Whether an answer is of a sample of before 0.3.0: the policy's, or that of day zero."""
    if answer.sampled:
        return True
    if decision is None or decision.bundle_id is not None or decision.epoch:
        return False
    return pick(answer.request_id, (1 - OLD_DAY_ZERO, OLD_DAY_ZERO, 0.0, 0.0), salt) == "dev"


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
