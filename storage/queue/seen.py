"""A job as an operator saw it, so that an act on it has no effect if it has changed since."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement, Connection, and_

from storage.audit.lookup import named_act, newest_row
from storage.audit.records import AuditKind, subject_of
from storage.records import Job, JobState
from storage.tables.schema import jobs

_MOST_DIGITS = 18
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERBS = {AuditKind.JOB_RETRIED: "retried", AuditKind.JOB_DISCARDED: "discarded"}


@dataclass(frozen=True, slots=True)
class SeenJob:
    """The state of a job as an operator saw it.

    An automatic attempt does not make a queued job another one; a touch and an act of an operator
    do.
    """

    generation: int
    state: JobState
    changed_at: datetime

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the present state of a job that was read from the store."""
        return cls(job.generation, job.state, job.updated_at)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `GENERATION.STATE.MICROSECONDS`, as `str` writes it. Raises ValueError."""
        generation, state, microseconds = text.split(".")
        is_number = generation.isdecimal() and microseconds.isdecimal()
        if not is_number or len(text) > 64 or len(generation) > _MOST_DIGITS:
            raise ValueError("a seen state of a job is written GENERATION.STATE.MICROSECONDS")
        try:
            changed_at = _EPOCH + timedelta(microseconds=int(microseconds))
        except OverflowError:
            raise ValueError("a seen state of a job has a time beyond the year 9999") from None
        return cls(int(generation), JobState(state), changed_at)

    def __str__(self) -> str:
        microseconds = (self.changed_at - _EPOCH) // timedelta(microseconds=1)
        return f"{self.generation}.{self.state}.{microseconds}"

    def is_unchanged(self) -> ColumnElement[bool]:
        """Return the condition that a row of `jobs` is as the operator saw it."""
        return and_(jobs.c.generation == self.generation, jobs.c.state == self.state)


def change_of(connection: Connection, job: Job, seen: SeenJob) -> str | None:
    """Return the change of a job since an operator saw it, as a sentence; None without a change."""
    if (job.generation, job.state) == (seen.generation, seen.state):
        return None
    row = newest_row(connection, tuple(_VERBS), subject_of(job=job.id), seen.changed_at)
    if row is not None:
        return f"job {job.id} {named_act(row, _VERBS[AuditKind(row.kind)])}"
    return f"job {job.id} has changed since you saw it: it is {job.state} now"
