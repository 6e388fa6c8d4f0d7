"""Workitems: each transition is committed before its message is sent, and after its answer."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy import insert as plain_insert

from storage.audit.records import AuditKind
from storage.audit.trail import append
from storage.errors import ChangedMeanwhileError
from storage.queue.priority import raise_study
from storage.queue.transitions import enqueue, lock_study, reopen, settle
from storage.records import Job, JobKind, JobState, Priority, StudyKey
from storage.tables.database import Database, insert
from storage.tables.exchange.workitems import (
    OPEN_WORKITEMS,
    pushed_workitems,
    workitems,
    worklists,
)
from storage.tables.schema import jobs
from storage.worklist.progress import load_progress
from storage.worklist.records import (
    NewWorkitem,
    PushedWorkitem,
    StudyProgress,
    Workitem,
    WorkitemOutput,
    WorkitemState,
    Worklist,
    encoded_inputs,
    encoded_outputs,
    subject_of_workitem,
)
from storage.worklist.rows import (
    change_workitem,
    load_workitem,
    note_worklist,
    require_held,
    workitem_entry,
    workitem_of,
    worklist_of,
)

REASON_CHARACTERS = 500
"""The length to which a reason is cut."""


class Workitems:
    """The workitems of all managers, and what is known of their worklists."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def take_turn(self, worklist: str, spacing: timedelta) -> bool:
        """Return True if this process is to ask for workitems now, and note that it does.

        Of all hosts one asks within `spacing`, and one after an event asked for it.
        """
        if not self._is_due(self.worklist(worklist), spacing):
            return False
        now = self._now()
        with self._database.writing() as connection:
            note_worklist(connection, worklist)
            connection.execute(
                select(worklists.c.name).where(worklists.c.name == worklist).with_for_update()
            )
            # Another host may have taken the turn meanwhile.
            if not self._is_due(worklist_of(connection, worklist), spacing):
                return False
            note_worklist(connection, worklist, asked_at=now, wanted_at=None)
        return True

    def _is_due(self, found: Worklist, spacing: timedelta) -> bool:
        is_early = found.asked_at is not None and self._now() - found.asked_at < spacing
        return found.wanted_at is not None or not is_early

    def want_turn(self, worklist: str) -> None:
        """Have some host ask for workitems at once: an event of the manager says so."""
        with self._database.writing() as connection:
            note_worklist(connection, worklist, wanted_at=self._now())

    def note_answer(
        self, worklist: str, fault: str = "", *, subscribed: bool | None = None
    ) -> None:
        """Record that the manager answered a search, or its fault, which names no patient.

        `subscribed` says whether a subscription was made or ended; None: neither.
        """
        values: dict[str, object] = {"fault": fault[:REASON_CHARACTERS]}
        if not fault:
            values["answered_at"] = self._now()
        if subscribed is not None:
            values["subscribed_at"] = self._now() if subscribed else None
        with self._database.writing() as connection:
            note_worklist(connection, worklist, **values)

    def worklist(self, name: str) -> Worklist:
        """Return what is known of a worklist."""
        with self._database.reading() as connection:
            return worklist_of(connection, name)

    def known(self, manager: str, uids: Collection[str]) -> frozenset[str]:
        """Return those of the UIDs that are recorded as workitems of this manager."""
        query = select(workitems.c.workitem_uid).where(
            workitems.c.manager == manager, workitems.c.workitem_uid.in_(uids)
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def open_count(self, manager: str) -> int:
        """Return the number of workitems of a manager in work; a parked one is not."""
        query = select(func.count()).where(
            jobs.c.kind == JobKind.PERFORM,
            jobs.c.lane == manager,
            jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def add(self, new: NewWorkitem) -> bool:
        """Record a workitem with its PERFORM job; return False if it is recorded already."""
        now = self._now()
        with self._database.writing() as connection:
            row = {
                "manager": new.manager,
                "workitem_uid": new.uid,
                "state": WorkitemState.FOUND,
                "transaction_uid": new.transaction_uid,
                "source": new.study.source,
                "study_instance_uid": new.study.study_instance_uid,
                "inputs": encoded_inputs(new.inputs),
                "outputs": [],
                "reason_code": "",
                "reason": "",
                "priority": int(new.priority),
                "found_at": now,
                "updated_at": now,
            }
            statement = insert(connection, workitems).values(row).on_conflict_do_nothing()
            if connection.scalar(statement.returning(workitems.c.id)) is None:
                return False
            if new.attributes is not None:
                pushed = {
                    "manager": new.manager,
                    "workitem_uid": new.uid,
                    "attributes": new.attributes,
                }
                connection.execute(plain_insert(pushed_workitems).values(pushed))
            enqueue(
                connection,
                JobKind.PERFORM,
                subject_of_workitem(new.manager, new.uid),
                now=now,
                not_before=now,
                lane=new.manager,
                priority=int(new.priority),
            )
        return True

    def of(self, job: Job) -> Workitem:
        """Return the workitem of a PERFORM job. Raises UnknownRecordError."""
        with self._database.reading() as connection:
            return load_workitem(connection, job)

    def pushed(self, manager: str, uid: str | None, limit: int = 1) -> tuple[PushedWorkitem, ...]:
        """Return the workitem of this UID that a peer created here; without UID the newest."""
        query = (
            select(*workitems.c, pushed_workitems.c.attributes)
            .join(
                pushed_workitems,
                (pushed_workitems.c.manager == workitems.c.manager)
                & (pushed_workitems.c.workitem_uid == workitems.c.workitem_uid),
            )
            .where(workitems.c.manager == manager)
            .order_by(workitems.c.id.desc())
            .limit(limit)
        )
        if uid is not None:
            query = query.where(workitems.c.workitem_uid == uid)
        with self._database.reading() as connection:
            return tuple(
                PushedWorkitem(workitem_of(row), row["attributes"])
                for row in connection.execute(query).mappings()
            )

    def begin(self, job: Job, state: WorkitemState) -> None:
        """Commit that a message is about to be sent, as `state` says. Raises LeaseLostError."""
        now = self._now()
        with self._database.writing() as connection:
            require_held(connection, job)
            change_workitem(connection, load_workitem(connection, job).id, now, state=state)

    def record_claim(self, job: Job) -> None:
        """Record that the manager gave this node the workitem. Raises LeaseLostError."""
        now = self._now()
        with self._database.writing() as connection:
            require_held(connection, job)
            item = load_workitem(connection, job)
            change_workitem(
                connection, item.id, now, state=WorkitemState.IN_PROGRESS, claimed_at=now
            )
            append(
                connection,
                workitem_entry(AuditKind.WORKITEM_CLAIMED, item, item.priority.name),
                now,
            )

    def progress(self, item: Workitem, destinations: Collection[str]) -> StudyProgress:
        """Return the progress of the study; the jobs of a STAT workitem's study become STAT."""
        with self._database.reading() as connection:
            found = load_progress(connection, item.study, item.inputs, destinations)
        if item.priority is Priority.STAT and found.is_working:
            with self._database.writing() as connection:
                lock_study(connection, item.study)
                raise_study(connection, item.study)
        return found

    def begin_completion(
        self, job: Job, destinations: Collection[str], outputs: Sequence[WorkitemOutput]
    ) -> None:
        """Commit the outputs, which are about to be reported.

        Raises ChangedMeanwhileError if they are not those of the study now, LeaseLostError.
        """
        now = self._now()
        with self._database.writing() as connection:
            item = load_workitem(connection, job)
            lock_study(connection, item.study)
            require_held(connection, job)
            found = load_progress(connection, item.study, item.inputs, destinations)
            named = {(one.sop_instance_uid, one.destinations) for one in outputs}
            delivered = {(one.kept_uid, one.destinations) for one in found.delivered}
            if not found.is_delivered or named != delivered:
                raise ChangedMeanwhileError(f"the study of job {job.id} has changed meanwhile")
            change_workitem(
                connection,
                item.id,
                now,
                state=WorkitemState.COMPLETING,
                outputs=encoded_outputs(outputs),
            )

    def begin_cancel(self, job: Job, code: str, reason: str) -> None:
        """Commit why the workitem is about to be canceled. Raises LeaseLostError."""
        now = self._now()
        with self._database.writing() as connection:
            require_held(connection, job)
            change_workitem(
                connection,
                load_workitem(connection, job).id,
                now,
                state=WorkitemState.CANCELING,
                reason_code=code,
                reason=reason[:REASON_CHARACTERS],
            )

    def end(self, job: Job, state: WorkitemState, reason: str = "") -> None:
        """Record the end of a workitem, and settle its job. Raises LeaseLostError.

        Some host then asks for further workitems at once.
        """
        now = self._now()
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=now)
            item = load_workitem(connection, job)
            values = {"reason": reason[:REASON_CHARACTERS]} if reason else {}
            change_workitem(connection, item.id, now, state=state, ended_at=now, **values)
            note_worklist(connection, item.manager, wanted_at=now)
            detail = f"{state}: {reason or item.reason}" if reason or item.reason else str(state)
            if state is WorkitemState.COMPLETED:
                detail = f"{state}, {len(item.outputs)} object(s)"
            append(connection, workitem_entry(AuditKind.WORKITEM_ENDED, item, detail), now)

    def request_cancel(self, manager: str, uid: str, host: str = "") -> bool:
        """Record that the manager asks to cancel a workitem, and wake its job.

        Return False if this node has no such workitem, or it has ended.
        """
        now = self._now()
        with self._database.writing() as connection:
            query = select(workitems).where(
                workitems.c.manager == manager,
                workitems.c.workitem_uid == uid,
                OPEN_WORKITEMS,
                workitems.c.cancel_requested_at.is_(None),
            )
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return False
            item = workitem_of(row)
            # The job first, as its performer does: otherwise each could wait for the other.
            self._wake(connection, item, now)
            change_workitem(connection, item.id, now, cancel_requested_at=now)
            entry = workitem_entry(AuditKind.WORKITEM_CANCEL_REQUESTED, item, "", host=host)
            append(connection, entry, now)
        return True

    def wake(self, manager: str, uid: str) -> bool:
        """Have the job of an open workitem look at it at once; return False if there is none."""
        query = select(workitems).where(
            workitems.c.manager == manager, workitems.c.workitem_uid == uid, OPEN_WORKITEMS
        )
        with self._database.writing() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is not None:
                self._wake(connection, workitem_of(row), self._now())
        return row is not None

    def _wake(self, connection: Connection, item: Workitem, now: datetime) -> None:
        # A parked job waits for an operator all the same.
        active = (JobState.QUEUED, JobState.RUNNING)
        reopen(connection, JobKind.PERFORM, item.subject, now=now, ended=active)

    def list(
        self, *, only_open: bool = False, manager: str | None = None, limit: int = 100
    ) -> tuple[Workitem, ...]:
        """Return the workitems changed last, newest first."""
        conditions: list[ColumnElement[bool]] = []
        if manager is not None:
            conditions.append(workitems.c.manager == manager)
        query = select(workitems).where(*conditions)
        if only_open:
            query = query.where(OPEN_WORKITEMS)
        query = query.order_by(workitems.c.updated_at.desc(), workitems.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return tuple(workitem_of(row) for row in connection.execute(query).mappings())

    def of_study(self, key: StudyKey) -> tuple[Workitem, ...]:
        """Return the workitems about a study, oldest first."""
        with self._database.reading() as connection:
            return load_of_study(connection, key)

    def counts(self) -> dict[tuple[str, WorkitemState], int]:
        """Return the number of workitems by manager and state."""
        query = select(workitems.c.manager, workitems.c.state, func.count()).group_by(
            workitems.c.manager, workitems.c.state
        )
        with self._database.reading() as connection:
            return {
                (name, WorkitemState(state)): number
                for name, state, number in connection.execute(query)
            }


def load_of_study(connection: Connection, key: StudyKey) -> tuple[Workitem, ...]:
    """Return the workitems about a study, oldest first."""
    query = (
        select(workitems)
        .where(
            workitems.c.source == key.source,
            workitems.c.study_instance_uid == key.study_instance_uid,
        )
        .order_by(workitems.c.id)
    )
    return tuple(workitem_of(row) for row in connection.execute(query).mappings())
