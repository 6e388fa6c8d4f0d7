"""Counters of a PostgreSQL server: transactions, rows, log, size and processor time."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import psycopg

from tests.benchmarks.scaling.measuring.processor_time import children_seconds, process_seconds


@dataclass(frozen=True, slots=True)
class Counters:
    """What a server has done so far, or since an earlier reading."""

    transactions: float
    """Transactions that wrote; each is a commit on the disk."""
    commits: float
    """All transactions by the server's statistics, which lag by seconds."""
    log_bytes: float
    size_bytes: float
    cpu_seconds: float
    audit_rows: float

    @classmethod
    def read(cls, socket_folder: str) -> Self:
        """Read the counters of the database `postgres` of the server at this socket."""
        with psycopg.connect(host=socket_folder, user="cxrd", dbname="postgres") as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            row = connection.execute(_QUERY).fetchone()
        assert row is not None
        first_line = (Path(socket_folder) / "data/postmaster.pid").read_text().splitlines()[0]
        server = int(first_line)
        cpu = process_seconds(server) + children_seconds(server)
        transactions, commits, log, size, audit = map(float, row)
        return cls(transactions, commits, log, size, cpu, audit)

    def since(self, before: "Counters", films: int, idle: "Counters | None" = None) -> Self:
        """Return the difference for each of so many films, less what an idle node does."""
        values = [
            (getattr(self, one.name) - getattr(before, one.name))
            - (getattr(idle, one.name) if idle else 0.0)
            for one in fields(self)
        ]
        return type(self)(*(value / films for value in values))


_QUERY = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, xact_commit,
    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), pg_database_size(datname),
    (SELECT count(*) FROM audit_events)
FROM pg_stat_database WHERE datname = current_database()
"""
