"""A study as an operator saw it, so that an act on it has no effect if it has changed since."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import Connection, Select, Text, cast, func, select

from storage.audit.lookup import named_act, newest_row
from storage.audit.records import AuditKind, subject_of
from storage.errors import ChangedMeanwhileError
from storage.records import JobKind, StudyKey
from storage.tables.conditions import of_study
from storage.tables.schema import deliveries, instances, jobs, objects

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERBS = {
    AuditKind.STUDY_RELEASED: "released",
    AuditKind.ANALYSIS_REQUESTED: "put to analysis again",
    AuditKind.DELIVERY_REQUESTED: "sent again",
}


@dataclass(frozen=True, slots=True)
class SeenStudy:
    """The touches of a study's jobs as an operator saw them, and when.

    A film that comes, an analysis or a report requested again and an object sent again change
    them; an attempt of a worker does not.
    """

    report: int
    analyses: int
    deliveries: int
    at: datetime

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote: four numbers with points. Raises ValueError."""
        numbers = text.split(".")
        if len(numbers) != 4 or not all(map(str.isdecimal, numbers)) or len(text) > 80:
            raise ValueError("a seen state of a study is written as four numbers with points")
        try:
            at = _EPOCH + timedelta(microseconds=int(numbers[3]))
        except OverflowError:
            raise ValueError("a seen state of a study has a time beyond the year 9999") from None
        return cls(int(numbers[0]), int(numbers[1]), int(numbers[2]), at)

    def __str__(self) -> str:
        microseconds = (self.at - _EPOCH) // timedelta(microseconds=1)
        return f"{self.report}.{self.analyses}.{self.deliveries}.{microseconds}"


def see(connection: Connection, key: StudyKey, now: datetime) -> SeenStudy:
    """Return the present state of a study."""
    reports = select(jobs.c.generation).where(
        jobs.c.kind == JobKind.REPORT, jobs.c.subject == key.subject
    )
    analyses = (
        _touches()
        .select_from(jobs)
        .join(instances, jobs.c.subject == cast(instances.c.id, Text))
        .where(jobs.c.kind == JobKind.ANALYSE, of_study(instances, key))
    )
    sent = (
        _touches()
        .select_from(jobs)
        .join(deliveries, deliveries.c.job_id == jobs.c.id)
        .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
        .where(of_study(objects, key))
    )
    report, analysed, delivered = (
        int(connection.scalar(query) or 0) for query in (reports, analyses, sent)
    )
    return SeenStudy(report, analysed, delivered, now)


def require_unchanged(connection: Connection, key: StudyKey, seen: SeenStudy | None) -> None:
    """Raise ChangedMeanwhileError if the study has changed since; the caller has locked it."""
    if seen is None:
        return
    present = see(connection, key, seen.at)
    if present == seen:
        return
    subject = subject_of(study=key.study_instance_uid, source=key.source)
    row = newest_row(connection, tuple(_VERBS), subject, seen.at)
    if row is not None:
        act = named_act(row, _VERBS[AuditKind(row.kind)])
        raise ChangedMeanwhileError(f"study {key.study_instance_uid} {act}")
    raise ChangedMeanwhileError(
        f"study {key.study_instance_uid} has changed since you saw it: look at it again"
    )


def _touches() -> Select[tuple[Any]]:
    return select(func.sum(jobs.c.generation))
