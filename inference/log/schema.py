"""The decision log's tables and their migrations."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inference.log.rows import ADDED, FIELDS, TABLES, Count, Row, TeacherAnswer

if TYPE_CHECKING:
    from sqlalchemy import Table


MIGRATIONS: list[tuple[str, ...]] = [
    (
        "CREATE TABLE decisions (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, text TEXT NOT NULL, intent TEXT, "
        "confidence DOUBLE PRECISION, accepted BOOLEAN NOT NULL, source TEXT NOT NULL, cached BOOLEAN NOT NULL, "
        "deferred BOOLEAN NOT NULL, sampled BOOLEAN NOT NULL, bundle_id TEXT, latency_ms DOUBLE PRECISION, "
        "reason TEXT)",
        "CREATE TABLE teacher_answers (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, time DOUBLE PRECISION NOT NULL, "
        "text TEXT NOT NULL, teacher TEXT NOT NULL, prompt_id TEXT NOT NULL, label TEXT, refusal TEXT, "
        "usage TEXT NOT NULL, cost_usd DOUBLE PRECISION NOT NULL, latency_ms DOUBLE PRECISION, "
        "sampled BOOLEAN NOT NULL)",
        "CREATE TABLE corrections (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, time DOUBLE PRECISION NOT NULL, "
        "text TEXT NOT NULL, intent TEXT NOT NULL)",
    ),
    (
        "CREATE TABLE counts (hour BIGINT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, n BIGINT NOT NULL, "
        "writer TEXT NOT NULL, PRIMARY KEY (hour, kind, key, writer))",
        "CREATE INDEX decisions_time ON decisions (time)",
        "CREATE INDEX teacher_answers_time ON teacher_answers (time)",
        "CREATE INDEX corrections_time ON corrections (time)",
    ),
    (
        # Tables of their own: to give a table another column takes a lock that every reader blocks, be it for the
        # hours of a dump. Rows of earlier versions, which may be at work for a while yet, have no part here.
        "CREATE TABLE decisions_more (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, caller_id TEXT, "
        "number DOUBLE PRECISION, rate DOUBLE PRECISION, epoch TEXT NOT NULL, prompt_id TEXT NOT NULL, "
        "question_id TEXT NOT NULL)",
        "CREATE TABLE teacher_answers_more (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, "
        "question_id TEXT NOT NULL)",
        "CREATE TABLE corrections_more (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, "
        "question_id TEXT NOT NULL)",
        "CREATE INDEX decisions_more_time ON decisions_more (time)",
        "CREATE INDEX teacher_answers_more_time ON teacher_answers_more (time)",
        "CREATE INDEX corrections_more_time ON corrections_more (time)",
        "CREATE TABLE secret (id INTEGER PRIMARY KEY, value TEXT NOT NULL)",  # one row, with the id 1
    ),
    (
        "CREATE TABLE trial_answers (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, time DOUBLE PRECISION NOT NULL, "
        "role TEXT NOT NULL, bundle_id TEXT NOT NULL, intent TEXT, confidence DOUBLE PRECISION, "
        "accepted BOOLEAN NOT NULL, source TEXT NOT NULL, latency_ms DOUBLE PRECISION NOT NULL)",
        "CREATE INDEX trial_answers_time ON trial_answers (time)",
    ),
]


PARTS = {kind: (name, f"{name}_more") if kind in ADDED else (name,) for kind, name in TABLES.items()}


@functools.cache
def tables() -> dict[type[Row], tuple[Table, ...]]:
    """The tables of a kind of row, as SQLAlchemy knows them: the first has every row, the second what was added."""
    import sqlalchemy as sa

    types: dict[str, Any] = {"float": sa.Double, "bool": sa.Boolean, "int": sa.BigInteger}
    tables = {}
    for kind, names in PARTS.items():
        columns = {field: types.get(annotation.partition(" ")[0], sa.Text) for field, annotation in FIELDS[kind]}
        if kind is not Count:
            columns["id"] = sa.Text
        added = ADDED.get(kind, ())
        parts = [[field for field in columns if field not in added], ["id", "time", *added]]
        tables[kind] = tuple(
            sa.Table(name, sa.MetaData(), *(sa.Column(field, columns[field]()) for field in part))
            for name, part in zip(names, parts, strict=False)
        )
    return tables


def rows_query(
    kind: type[Row], since: float, until: float | None, which: str = "", ids: Sequence[str] | None = None
) -> Any:
    """The query for rows of a kind, whole, in the order of time; what a row does not have is at its default.

    `which`: a condition in SQL; `ids`: of these rows alone.
    """
    import sqlalchemy as sa

    first, *others = tables()[kind]
    query = sa.select(first)
    for more in others:  # one table at most
        defaults = {name: "" for name, annotation in FIELDS[kind] if annotation == "str"}
        added = [
            sa.func.coalesce(more.c[name], defaults[name]).label(name) if name in defaults else more.c[name]
            for name in ADDED[kind]
        ]
        query = query.add_columns(*added).select_from(first.outerjoin(more, first.c.id == more.c.id))
    query = query.where(sa.text(f"({which})")) if which else query
    query = query if ids is None else query.where(first.c.id.in_(ids))
    return _within(query, first.c.time, since, until).order_by(first.c.time, first.c.id)


def costs_query(since: float, until: float | None) -> Any:
    """The query for how many teachers' answers named no intent, and how many did, and what they cost."""
    import sqlalchemy as sa

    (table, _) = tables()[TeacherAnswer]
    refused = table.c.label.is_(None)
    query = sa.select(refused.label("refused"), sa.func.count(), sa.func.sum(table.c.cost_usd)).group_by(refused)
    return _within(query, table.c.time, since, until)


def counts_query(since: float, until: float | None, kind: str) -> Any:
    """The query for all writers' counts, added up, of one kind alone where it is given."""
    import sqlalchemy as sa

    (table,) = tables()[Count]
    names = (table.c.hour, table.c.kind, table.c.key)
    query = sa.select(*names, sa.func.sum(table.c.n).label("n")).group_by(*names).order_by(*names)
    query = query.where(table.c.kind == kind) if kind else query
    return _within(query, table.c.hour, since, until)


def writers_query(kind: str, since: float, until: float | None) -> Any:
    """The query for each writer's counts of one kind, by hour."""
    import sqlalchemy as sa

    (table,) = tables()[Count]
    query = sa.select(table.c.hour, sa.func.sum(table.c.n)).where(table.c.kind == kind)
    return _within(query.group_by(table.c.hour, table.c.writer), table.c.hour, since, until)


def _within(query: Any, time: Any, since: float, until: float | None) -> Any:
    query = query.where(time >= since)
    return query if until is None else query.where(time < until)


def inserts(kind: type[Row], dialect: str, records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, list[Any]]]:
    """Statements that insert rows of one kind, with their values: a row that is there stays, a count only grows."""
    from sqlalchemy.dialects import postgresql, sqlite

    for table in tables()[kind]:
        statement: Any = (sqlite if dialect == "sqlite" else postgresql).insert(table)
        if kind is Count:
            larger = statement.excluded.n > table.c.n  # a total that is written late must not undo a newer one
            key = [table.c.hour, table.c.kind, table.c.key, table.c.writer]
            added = {"n": statement.excluded.n}
            statement = statement.on_conflict_do_update(index_elements=key, set_=added, where=larger)
        else:
            statement = statement.on_conflict_do_nothing()
        yield statement, [{name: record[name] for name in table.c.keys()} for record in records]  # noqa: SIM118
