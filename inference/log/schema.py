"""The decision log's tables and their migrations."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from inference.log.rows import FIELDS, TABLES, Count, Row

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
        "ALTER TABLE decisions ADD COLUMN caller_id TEXT",
        "ALTER TABLE decisions ADD COLUMN number DOUBLE PRECISION",
        "ALTER TABLE decisions ADD COLUMN rate DOUBLE PRECISION",
        "ALTER TABLE decisions ADD COLUMN epoch TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE decisions ADD COLUMN prompt_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE decisions ADD COLUMN question_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE teacher_answers ADD COLUMN question_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE corrections ADD COLUMN question_id TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE secret (id INTEGER PRIMARY KEY, value TEXT NOT NULL)",  # one row, with the id 1
    ),
]


@functools.cache
def tables() -> dict[type[Row], Table]:
    """The tables by kind of row, as SQLAlchemy knows them."""
    import sqlalchemy as sa

    types: dict[str, Any] = {"float": sa.Double, "bool": sa.Boolean, "int": sa.BigInteger}
    tables = {}
    for kind, name in TABLES.items():
        columns = {field: types.get(annotation.partition(" ")[0], sa.Text) for field, annotation in FIELDS[kind]}
        if kind is not Count:
            columns["id"] = sa.Text
        tables[kind] = sa.Table(name, sa.MetaData(), *(sa.Column(field, type_()) for field, type_ in columns.items()))
    return tables


def insert_statement(kind: type[Row], dialect: str) -> Any:
    """The statement that inserts rows of one kind: a row that is there stays, a count only grows."""
    from sqlalchemy.dialects import postgresql, sqlite

    table = tables()[kind]
    statement: Any = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    if kind is not Count:
        return statement.on_conflict_do_nothing()
    larger = statement.excluded.n > table.c.n  # a total that is written late must not undo a newer one
    key = [table.c.hour, table.c.kind, table.c.key, table.c.writer]
    return statement.on_conflict_do_update(index_elements=key, set_={"n": statement.excluded.n}, where=larger)
