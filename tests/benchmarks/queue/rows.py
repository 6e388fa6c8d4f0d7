"""Stores with many jobs, written by the database itself: to enqueue them would take an hour."""

from sqlalchemy import text

from storage.tables.database import Database, open_engine

_JOB = (
    "{numbers} INSERT INTO jobs (kind, subject, state, attempts, generation, claims, not_before,"
    " created_at, updated_at, priority) SELECT 'analyse', '{name}-' || n, '{state}', {ran}, 1,"
    " {ran}, {due}, {due}, {due}, n % 2 FROM {source}"
)
_NUMBERS = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < {count})"


class JobRows:
    """The jobs of one store, changed behind its back."""

    def __init__(self, url: str) -> None:
        self._database = Database(open_engine(url, create=False))
        self.is_server = url.startswith("postgresql")

    def close(self) -> None:
        self._database.engine.dispose()

    def add(self, name: str, state: str, count: int) -> None:
        """Add jobs: half of them STAT, all due in the last minutes."""
        ran = int(state != "queued")
        if self.is_server:
            due = "now() - n % 600 * interval '1 second'"
            values = {"numbers": "", "source": f"generate_series(1, {count}) AS s(n)"}
        else:
            due = "strftime('%Y-%m-%d %H:%M:%f000', 'now', -(n % 600) || ' seconds')"
            values = {"numbers": _NUMBERS.format(count=count), "source": "s"}
        with self._database.writing() as connection:
            statement = _JOB.format(name=name, state=state, ran=ran, due=due, **values)
            connection.execute(text(statement))

    def queue_again(self) -> None:
        """Queue the jobs that were claimed or finished, apart from those that were done before."""
        with self._database.writing() as connection:
            connection.execute(
                text(
                    "UPDATE jobs SET state = 'queued', worker = NULL, lease_until = NULL"
                    " WHERE subject LIKE 'due-%' AND state <> 'queued'"
                )
            )
        self.tidy()

    def tidy(self) -> None:
        """Leave the store as its own upkeep leaves it: dead rows gone, the log written back."""
        with self._database.engine.connect() as connection:
            if self.is_server:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(text("VACUUM ANALYZE jobs"))
                connection.execute(text("CHECKPOINT"))
            else:
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
