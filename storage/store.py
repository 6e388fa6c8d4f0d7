"""The store: everything the daemon remembers, behind one object."""

from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, func, select, text, union_all, update

from storage.audit.readers import AuditReaders
from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import Audit, append
from storage.commitment.inquiries import Inquiries
from storage.commitment.requests import Commitments
from storage.errors import StorageError
from storage.export import Export
from storage.images.results import Results
from storage.queue.jobs import Jobs
from storage.queue.transitions import enqueue, lock_study, reopen
from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    KeptFile,
    NewInstance,
    Receipt,
    ReceiptOutcome,
)
from storage.status import Status
from storage.tables import upgrade
from storage.tables.database import Database, insert, open_engine
from storage.tables.schema import instances, objects
from storage.upkeep.integrity import Integrity
from storage.upkeep.retention import Retention

_SETTLE_SECONDS = 5
"""Others must not queue for long behind one who waits for the writers."""


def utc_now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)


class Store:
    """A database and what is done with it. Share one among threads; each process opens its own.

    Attributes:
        jobs: the queue.
        results: what became of instances, studies and objects.
        commitments: what archives are asked to commit to.
        inquiries: what peers ask this store to commit to.
        audit: the trail of what happened.
        audit_readers: who has read how much of it.
        retention: what has been delivered and is old enough to go.
        integrity: which files are not as the rows say.
        export: the same as table rows.
        status: the same at a glance, without patients.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._file = _file_of(database)
        self._now = clock
        self.jobs = Jobs(database, clock)
        self.results = Results(database, clock)
        self.commitments = Commitments(database, clock)
        self.inquiries = Inquiries(database, clock)
        self.audit = Audit(database, clock)
        self.audit_readers = AuditReaders(database, clock)
        self.retention = Retention(database, clock)
        self.integrity = Integrity(database)
        self.export = Export(database)
        self.status = Status(database)

    @classmethod
    def open(
        cls, database_url: str, *, clock: Callable[[], datetime] = utc_now, migrate: bool
    ) -> Self:
        """Open the store at `sqlite:///PATH` or `postgresql://…`.

        With `migrate` it is created or upgraded first; without, it must be of this version.
        Raises SchemaError, StoreUnavailableError or another StorageError.
        """
        database = Database(open_engine(database_url, create=migrate))
        try:
            if migrate:
                upgrade.migrate(database)
            else:
                upgrade.require_current(database)
        except BaseException:
            database.engine.dispose()
            raise
        return cls(database, clock)

    def close(self) -> None:
        """Close the connections."""
        self._database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def record_instance(
        self,
        instance: NewInstance,
        quiet_seconds: float,
        host: str = "",
        retried: Collection[str] = (),
    ) -> Receipt:
        """Record an instance whose file is in the spool: the acknowledging transaction.

        Once this returns, the instance and the jobs that analyse it and report its study, once
        that has been quiet for `quiet_seconds`, are on disk, and the sender may be told. The same
        SOP Instance UID with bytes had before is a duplicate and queues nothing, unless those had
        been purged: then they are kept again, and the study is looked at once more. With other
        bytes it is a new revision. Safe for any number of callers with the same UID at once.

        What comes again is analysed again where that was not done or is parked, or where it was
        not analysed for one of the reasons `retried`. `host` is the sender's address, for the audit
        trail. Raises StorageError, also where the store's file was deleted or replaced meanwhile:
        then what is recorded would be gone with the process.
        """
        now = self._now()
        with self._database.writing() as connection:
            lock_study(connection, instance.study_instance_uid)
            added = None
            while added is None:
                known = _find_known(connection, instance)
                if known is not None:
                    added = _receive_again(connection, known, instance, now)
                else:
                    added = _insert_instance(connection, instance, now)
            subject = str(added.instance_id)
            if known is None or known.reason in retried or _is_to_be_analysed(known):
                enqueue(connection, JobKind.ANALYSE, subject, now=now, not_before=now)
            else:
                parked = (JobState.PARKED,)
                reopen(connection, JobKind.ANALYSE, subject, now=now, ended=parked)
            if added.outcome is not ReceiptOutcome.DUPLICATE:
                enqueue(
                    connection,
                    JobKind.REPORT,
                    instance.study_instance_uid,
                    now=now,
                    not_before=now + timedelta(seconds=quiet_seconds),
                )
            append(connection, _received(instance, added, host), now)
            self._require_file()
        return added

    def _require_file(self) -> None:
        if self._file != _file_of(self._database):
            raise StorageError(
                f"the store {self._database.engine.url.database} was deleted or replaced while it "
                "is in use: stop the daemon, then restore a backup as docs/operations.md says"
            )

    def unnamed(self, spool_paths: Collection[str], *, settled: bool = False) -> tuple[str, ...]:
        """Which of these files no row names.

        `settled` is for who would remove a file: a commit whose answer was lost may have happened,
        or may be under way on a database server still, and is waited for.
        """
        query = union_all(
            *(
                select(table.c.spool_path).where(table.c.spool_path.in_(spool_paths))
                for table in (instances, objects)
            )
        )
        with self._database.reading() as connection:
            if settled:
                _await_writers(connection)
            named = set(connection.scalars(query))
        return tuple(path for path in spool_paths if path not in named)

    def holders(self, sha256s: Collection[str]) -> tuple[KeptFile, ...]:
        """The received instances that have one of these digests."""
        query = select(instances.c.sop_class_uid, instances.c.spool_path, instances.c.sha256).where(
            instances.c.sha256.in_(sha256s), instances.c.purged_at.is_(None)
        )
        with self._database.reading() as connection:
            return tuple(KeptFile(*row) for row in connection.execute(query))


def _file_of(database: Database) -> tuple[int, int] | None:
    """Which file a SQLite store is; None where there is none, as on a server."""
    if database.engine.dialect.name != "sqlite":
        return None
    try:
        status = Path(database.engine.url.database or "").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _await_writers(connection: Connection) -> None:
    """Let those end who are writing rows that name files: a server may still be at the commit of
    one that was cut off. SQLite commits in the process that asks, or not at all."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_SETTLE_SECONDS}s'"))
        connection.execute(text("LOCK TABLE instances, objects IN SHARE MODE"))


def _received(instance: NewInstance, receipt: Receipt, host: str) -> AuditEntry:
    return AuditEntry(
        AuditKind.INSTANCE_RECEIVED,
        actor=instance.calling_ae_title,
        host=host,
        subject=subject_of(
            study=instance.study_instance_uid,
            instance=instance.sop_instance_uid,
            sop_class=instance.sop_class_uid,
        ),
        detail=f"{receipt.outcome}, revision {receipt.revision}, sha256 {instance.sha256}",
    )


def _find_known(connection: Connection, instance: NewInstance) -> Row[Any] | None:
    """The revision of these very bytes."""
    query: Select[tuple[Any, ...]] = select(
        instances.c.id,
        instances.c.revision,
        instances.c.state,
        instances.c.reason,
        instances.c.purged_at,
    ).where(
        instances.c.sop_instance_uid == instance.sop_instance_uid,
        instances.c.sha256 == instance.sha256,
    )
    return connection.execute(query).one_or_none()


def _is_to_be_analysed(known: Row[Any]) -> bool:
    """Whether a purged revision has never been looked at."""
    return known.purged_at is not None and known.state is InstanceState.RECEIVED


def _receive_again(
    connection: Connection, known: Row[Any], instance: NewInstance, now: datetime
) -> Receipt | None:
    """The revision's days count anew; None when another transaction was faster.

    A purged one has a file again, the new one: the old one may be about to be removed.
    """
    is_kept = known.purged_at is None
    values: dict[str, Any] = {"received_again_at": now}
    if not is_kept:
        values |= {"spool_path": instance.spool_path, "purged_at": None}
    updated = connection.execute(
        update(instances)
        .where(
            instances.c.id == known.id, instances.c.purged_at.is_not_distinct_from(known.purged_at)
        )
        .values(values)
    )
    if updated.rowcount == 0:
        return None
    outcome = ReceiptOutcome.DUPLICATE if is_kept else ReceiptOutcome.KEPT_AGAIN
    return Receipt(outcome, known.id, known.revision)


def _insert_instance(
    connection: Connection, instance: NewInstance, now: datetime
) -> Receipt | None:
    """Add the next revision; None when another transaction took that number or these bytes."""
    next_revision = (
        select(func.coalesce(func.max(instances.c.revision), 0) + 1)
        .where(instances.c.sop_instance_uid == instance.sop_instance_uid)
        .scalar_subquery()
    )
    row = connection.execute(
        insert(connection, instances)
        .values(
            **asdict(instance),
            revision=next_revision,
            received_at=now,
            state=InstanceState.RECEIVED,
            notes=[],
        )
        .on_conflict_do_nothing()
        .returning(instances.c.id, instances.c.revision)
    ).one_or_none()
    if row is None:
        return None
    outcome = ReceiptOutcome.NEW if row.revision == 1 else ReceiptOutcome.REVISION
    return Receipt(outcome, row.id, row.revision)
