"""Rows of workitems and worklists, for use inside a transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.errors import LeaseLostError, UnknownRecordError
from storage.queue.transitions import is_held
from storage.records import Job, Priority, StudyKey
from storage.tables.database import insert
from storage.tables.exchange.workitems import workitems, worklists
from storage.tables.schema import jobs
from storage.worklist.records import (
    Workitem,
    WorkitemInput,
    WorkitemOutput,
    WorkitemState,
    Worklist,
)


def workitem_of(row: RowMapping) -> Workitem:
    """Return the workitem of a row."""
    return Workitem(
        id=row["id"],
        manager=row["manager"],
        uid=row["workitem_uid"],
        state=WorkitemState(row["state"]),
        transaction_uid=row["transaction_uid"],
        study=StudyKey(row["source"], row["study_instance_uid"]),
        inputs=tuple(WorkitemInput(*one) for one in row["inputs"]),
        outputs=tuple(_output(one) for one in row["outputs"]),
        reason_code=row["reason_code"],
        reason=row["reason"],
        priority=Priority(row["priority"]),
        cancel_requested_at=row["cancel_requested_at"],
        found_at=row["found_at"],
        claimed_at=row["claimed_at"],
        ended_at=row["ended_at"],
        updated_at=row["updated_at"],
    )


def _output(stored: Sequence[Any]) -> WorkitemOutput:
    study, series, sop_class, instance, destinations = stored
    return WorkitemOutput(study, series, sop_class, instance, tuple(destinations))


def load_workitem(connection: Connection, job: Job) -> Workitem:
    """Return the workitem of a PERFORM job. Raises UnknownRecordError."""
    uid, _, manager = job.subject.partition("@")
    query = select(workitems).where(workitems.c.manager == manager, workitems.c.workitem_uid == uid)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise UnknownRecordError(f"job {job.id} has no workitem")
    return workitem_of(row)


def require_held(connection: Connection, job: Job) -> None:
    """Lock the job. Raises LeaseLostError if another worker has it."""
    query = select(jobs.c.id).where(is_held(job)).with_for_update()
    if connection.scalar(query) is None:
        raise LeaseLostError(f"job {job.id} was given to another worker: nothing was recorded")


def change_workitem(connection: Connection, number: int, now: datetime, **values: object) -> None:
    """Change the cells of a workitem."""
    connection.execute(
        update(workitems).where(workitems.c.id == number).values(updated_at=now, **values)
    )


def worklist_of(connection: Connection, name: str) -> Worklist:
    """Return what is known of a worklist."""
    row = connection.execute(select(worklists).where(worklists.c.name == name)).one_or_none()
    return Worklist(name) if row is None else Worklist(*row)


def note_worklist(connection: Connection, name: str, **values: object) -> None:
    """Add the row of a worklist if there is none; change these cells of it."""
    statement = insert(connection, worklists).values({"name": name, "fault": "", **values})
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_=values)
        if values
        else statement.on_conflict_do_nothing()
    )


def workitem_entry(
    kind: AuditKind, item: Workitem, detail: str, actor: str = "", host: str = ""
) -> AuditEntry:
    """Return the audit row of a workitem; the detail names no patient."""
    return AuditEntry(
        kind,
        actor=actor or item.manager,
        host=host,
        subject=subject_of(
            workitem=item.uid,
            study=item.study.study_instance_uid,
            source=item.study.source,
        ),
        detail=detail,
    )
