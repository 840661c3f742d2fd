"""What the ledger's and the decision log's SQLite files have in common."""

from __future__ import annotations

import sqlite3
import time


def log_ahead(connection: sqlite3.Connection, wait_s: float) -> None:
    """Give the connection's file a write-ahead log, which it then keeps. Raises sqlite3.Error if it stays locked.

    The change needs the file for itself, and SQLite's own wait for a lock does not cover it: of processes that open a
    new file together, one would fail at once.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)
