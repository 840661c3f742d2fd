"""Reading the decision log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference.log.database import Store
from inference.log.rows import Correction, Costs, Count, Decision, TeacherAnswer, TrialAnswer
from inference.log.schema import costs_query, writers_query


class Reader:
    """What a log holds. Times are in seconds since 1970; `until` is not part of the period.

    Reading opens a connection of its own.
    """

    _store: Store

    def read_decisions(self, since: float = 0.0, until: float | None = None) -> Iterator[Decision]:
        """Decisions in the order of time. Raises LogError if the log cannot be read, as all reading does."""
        return self._store.read(Decision, since, until)

    def read_requests(self, ids: Sequence[str]) -> Iterator[Decision]:
        """The decisions with these ids, as far as they are there; a few thousand at most."""
        return self._store.read(Decision, 0.0, None, ids=ids)

    def read_sample(self, since: float = 0.0, until: float | None = None) -> Iterator[Decision]:
        """Those decisions that are of the uniform sample."""
        return self._store.read(Decision, since, until, "sampled")

    def read_open(self, since: float = 0.0, until: float | None = None) -> Iterator[Decision]:
        """Those decisions from which there may be something to learn beside what teachers answered: of the sample,
        fallen back, or of before there was a bundle.
        """
        return self._store.read(Decision, since, until, "sampled OR source = 'fallback' OR bundle_id IS NULL")

    def read_answers(self, since: float = 0.0, until: float | None = None) -> Iterator[TeacherAnswer]:
        """Teachers' answers in the order of time."""
        return self._store.read(TeacherAnswer, since, until)

    def read_sampled_answers(self, since: float = 0.0, until: float | None = None) -> Iterator[TeacherAnswer]:
        """Those answers that were given for the sample."""
        return self._store.read(TeacherAnswer, since, until, "sampled")

    def read_costs(self, since: float = 0.0, until: float | None = None) -> Costs:
        """How many answers teachers gave, how many of them named no intent, and what they cost."""
        found = {bool(of): (int(n), float(usd)) for of, n, usd in self._store.select(costs_query(since, until))}
        (named, usd), (none, lost) = found.get(False, (0, 0.0)), found.get(True, (0, 0.0))
        return Costs(named + none, usd + lost, none, lost)

    def read_corrections(self, since: float = 0.0, until: float | None = None) -> Iterator[Correction]:
        """Corrections in the order of time."""
        return self._store.read(Correction, since, until)

    def read_trial(self, since: float = 0.0, until: float | None = None) -> Iterator[TrialAnswer]:
        """What serving bundles and bundles on trial said of sampled requests, in the order of time."""
        return self._store.read(TrialAnswer, since, until)

    def read_counts(self, since: float = 0.0, until: float | None = None, kind: str = "") -> Iterator[Count]:
        """Counts by hour, kind and key, of all processes together; of one `kind` alone where it is given."""
        return self._store.counts(since, until, kind)

    def read_processes(self, since: float = 0.0, until: float | None = None) -> float:
        """How many processes shared the requests at one time, on average; those that had few of them count less."""
        hours: dict[int, list[int]] = {}
        for hour, n in self._store.select(writers_query("requests", since, until)):
            hours.setdefault(hour, []).append(int(n))
        all_requests = sum(map(sum, hours.values()))
        return sum(sum(each) ** 3 / sum(n * n for n in each) for each in hours.values()) / max(1, all_requests) or 1.0
