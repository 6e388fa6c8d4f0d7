"""The store: one object for everything the daemon keeps in its database."""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.activity import Activity
from storage.audit.listing import AuditList
from storage.audit.readers import AuditReaders
from storage.audit.tail import AuditTail
from storage.audit.trail import Audit
from storage.commitment.inquiries import Inquiries
from storage.commitment.requests import Commitments
from storage.errors import StorageError
from storage.export.export import Export
from storage.hosts.bells import Bells
from storage.hosts.leases import Leases
from storage.hosts.nodes import Nodes
from storage.hosts.web_sessions import WebSessions
from storage.hosts.web_tokens import WebTokens
from storage.images.adoption import adopt_sources, hold_mixed_studies
from storage.images.lookup import load_kept_files, unreferenced_paths
from storage.images.outbox import Outbox
from storage.images.patient_changes import Patients
from storage.images.receipt import Reception, record_receptions
from storage.images.results import Results
from storage.images.studies import Studies
from storage.offered.offered import Offered
from storage.queue.jobs import MAX_WAIT, Jobs
from storage.queue.listing import JobList
from storage.records import KeptFile, NewInstance, Receipt
from storage.retrievals.priors import PriorSearches
from storage.retrievals.retrievals import Retrievals
from storage.reviews import Reviews
from storage.search.search import Search
from storage.statistics.film_days import FilmDays
from storage.status import Status
from storage.summaries import keep
from storage.tables import upgrade
from storage.tables.database import Database, open_engine
from storage.tables.group_commit import GroupCommit
from storage.tables.schema import instances
from storage.upkeep.binding import Binding
from storage.upkeep.integrity import Integrity
from storage.upkeep.retention import Retention
from storage.worklist.workitems import Workitems


class Store:
    """A database and the operations on it. Threads share one Store; each process opens its own.

    Attributes:
        jobs: the job queue.
        results: instances, studies and objects, and their results.
        outbox: the deliveries by source and destination.
        studies: studies in doubt, and their release.
        patients: the changes of patients by messages.
        commitments: our storage commitment requests to archives.
        inquiries: storage commitment requests from peers.
        workitems: the workitems of worklist managers.
        audit: the audit trail.
        audit_list: the audit trail by filter.
        audit_readers: the position of each consumer of the audit trail.
        audit_tail: the audit trail from a row on, for readers that count its events.
        retrievals: the orders to fetch studies from archives.
        prior_searches: searches for earlier studies of a patient at archives.
        retention: the search for old studies and their purge.
        integrity: the comparison of the rows with the spool.
        binding: the binding of the store to its spool.
        export: the audit table.
        offered: the films and results that other systems may fetch.
        search: the studies by any field, and one study with its history.
        reviews: the verdicts and remarks of people.
        job_list: the jobs by filter, with their studies.
        activity: the work of the last hours, and the times to result.
        status: counts and recent images, without patients.
        film_days: films and findings by the day of their reception, for the statistics.
        leases: work that one process of all hosts does at a time.
        nodes: the roles of all hosts.
        web_sessions: the open sessions of browsers.
        web_tokens: the main token of the pages.
        bells: the rings between the hosts.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] | None = None,
        max_wait: timedelta = MAX_WAIT,
    ) -> None:
        """Use a database; `clock` replaces its clock (`Database.now`), for tests."""
        clock = clock or database.now
        self._database = database
        self._file = _file_identity(database)
        self._now = clock
        self.jobs = Jobs(database, clock, max_wait)
        self.results = Results(database, clock)
        self.outbox = Outbox(database, clock)
        self.studies = Studies(database, clock)
        self.patients = Patients(database, clock)
        self.commitments = Commitments(database, clock)
        self.inquiries = Inquiries(database, clock)
        self.workitems = Workitems(database, clock)
        self.audit = Audit(database, clock)
        self.audit_list = AuditList(database)
        self.audit_readers = AuditReaders(database, clock)
        self.audit_tail = AuditTail(database)
        self.leases = Leases(database, clock)
        self.retention = Retention(database, clock, self.leases)
        self.retrievals = Retrievals(database, clock)
        self.prior_searches = PriorSearches(database, clock)
        self.integrity = Integrity(database)
        self.binding = Binding(database, clock)
        self.export = Export(database)
        self.job_list = JobList(database)
        self.offered = Offered(database)
        self.search = Search(database)
        self.reviews = Reviews(database, clock)
        self.activity = Activity(database)
        self.status = Status(database)
        self.film_days = FilmDays(database)
        self.nodes = Nodes(database, clock)
        self.web_sessions = WebSessions(database, clock)
        self.web_tokens = WebTokens(database, clock)
        self.bells = Bells(database)
        self._receptions: GroupCommit[Reception, Receipt] = GroupCommit(self._record)

    @classmethod
    def open(
        cls,
        database_url: str,
        *,
        clock: Callable[[], datetime] | None = None,
        migrate: bool,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
        max_wait: timedelta = MAX_WAIT,
    ) -> Self:
        """Open the store at `sqlite:///PATH` or `postgresql://…`.

        With `migrate` the store is created or upgraded first. Without it the store must have the
        tables of this version, or of a newer one beside which this one may work. `progress` gets
        the studies that an upgrade has listed anew, and the number of all. `max_wait` is the
        longest wait of an ordinary job behind STAT.

        Raises SchemaError, StoreUnavailableError or another StorageError.
        """
        database = Database(open_engine(database_url, create=migrate))
        try:
            if migrate:
                upgrade.migrate(database, fill=functools.partial(keep.fill, progress=progress))
            else:
                upgrade.require_current(database)
        except BaseException:
            database.engine.dispose()
            raise
        return cls(database, clock, max_wait)

    def close(self) -> None:
        """Close the connections."""
        self.bells.close()
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

    def now(self) -> datetime:
        """Return the time by which all hosts of this store go; see `Database.now`.

        Each time in the store, and each time that is compared with one, is this time.
        """
        return self._now()

    def first_schema(self) -> str | None:
        """Return the revision with which this store was created.

        None: an earlier version created it, before there was a record of that.
        """
        return upgrade.first_schema(self._database)

    def newer_schema(self) -> str | None:
        """Return the revision of the tables if a newer version made them, else None."""
        return upgrade.newer_schema(self._database)

    def record_instance(
        self,
        instance: NewInstance,
        quiet_seconds: float,
        host: str = "",
        retried: Collection[str] = (),
    ) -> Receipt:
        """Record an instance whose file is in the spool: the acknowledging transaction.

        When this returns, the instance is on disk with its jobs, and the sender may get its
        response. Instances that arrive while others are synced share the next transaction, and each
        fails alone. The ANALYSE job is due at once, the REPORT job after `quiet_seconds` without
        another instance of the study. Any number of callers may record the same UID at once.

        - Other bytes under a known SOP Instance UID are a new revision.
        - The same bytes are a duplicate, which queues no report. They are analysed again if their
          analysis is parked, or if it was refused for one of the reasons `retried`.
        - The same bytes of a revision that a later one put under another patient or study are the
          latest revision again.
        - The same bytes of a purged revision are kept again, and the study is reported again. They
          are analysed if they were purged before their first analysis.

        `host` is the sender's address, for the audit trail. Raises StorageError, also if the
        store's file was deleted or replaced: such a record would be lost when the process ends.
        """
        quiet = timedelta(seconds=quiet_seconds)
        return self._receptions.run(Reception(instance, quiet, host, retried))

    def _record(self, receptions: Sequence[Reception]) -> Sequence[Receipt | Exception]:
        """Record a group in one transaction; if it fails before the commit, each in its own."""
        is_written = False
        try:
            with self._database.writing() as connection:
                receipts = record_receptions(self._database, connection, receptions, self._now())
                self._require_file()
                is_written = True
        except Exception:
            # A commit that failed may have taken effect: to repeat it would make duplicates.
            if is_written or len(receptions) == 1:
                raise
            return [receipt for one in receptions for receipt in self._record_alone(one)]
        return receipts

    def _record_alone(self, reception: Reception) -> Sequence[Receipt | Exception]:
        try:
            return self._record([reception])
        except Exception as error:  # noqa: BLE001 - raised in the thread of this reception alone
            return [error]

    def adopt_sources(self, sources: Mapping[str, str]) -> int:
        """Give studies of an unknown source the source of their sender; return their number.

        `sources` maps calling AE titles to sources. A study stays as it is if its instances have
        several senders, if a sender is not in `sources`, or if the source already has the study or
        one of its instances. Only the first call after an upgrade changes studies: an AE title may
        later be that of another sender.
        """
        now = self._now()
        with self._database.writing() as connection:
            return adopt_sources(connection, sources, now)

    def hold_mixed_studies(self) -> int:
        """Hold the studies of an earlier version that hold two patients; return their number.

        A study that was held before is counted again.
        """
        with self._database.writing() as connection:
            return hold_mixed_studies(connection, self._now())

    def _require_file(self) -> None:
        if self._file != _file_identity(self._database):
            raise StorageError(
                f"the store {self._database.engine.url.database} was deleted or replaced while it "
                "is in use: stop the daemon, then restore a backup as docs/backup.md says"
            )

    def unreferenced(
        self, spool_paths: Collection[str], *, wait_for_writers: bool = False
    ) -> tuple[str, ...]:
        """Return the paths that no row names.

        A caller that removes such files must wait for the writers: a commit without a response
        may have succeeded, or may still be running on a database server.
        """
        with self._database.reading() as connection:
            return unreferenced_paths(connection, spool_paths, wait_for_writers=wait_for_writers)

    def kept_files(
        self, sop_instance_uid: str, sources: Collection[str] | None = None
    ) -> tuple[KeptFile, ...]:
        """Return the files of all revisions of an instance, without purged revisions.

        They are those of these sources, or of any source.
        """
        condition = instances.c.sop_instance_uid == sop_instance_uid
        if sources is not None:
            condition &= instances.c.source.in_(sources)
        with self._database.reading() as connection:
            return load_kept_files(connection, condition)

    def kept_files_by_digest(self, sha256s: Collection[str]) -> tuple[KeptFile, ...]:
        """Return the files of received instances that have one of these SHA-256 digests."""
        with self._database.reading() as connection:
            return load_kept_files(connection, instances.c.sha256.in_(sha256s))


def _file_identity(database: Database) -> tuple[int, int] | None:
    """Return the device and inode of a SQLite file, or None without a file (PostgreSQL)."""
    if database.engine.dialect.name != "sqlite":
        return None
    try:
        status = Path(database.engine.url.database or "").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
