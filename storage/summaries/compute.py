"""The summary of a study, from the rows of its films, its findings and its jobs."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    Select,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)

from storage.records import (
    RETENTION_EXPIRED,
    InstanceState,
    JobKind,
    JobState,
    StudyKey,
    StudyState,
    StudyStatus,
)
from storage.status import ImageMark
from storage.summaries.folding import folded, folded_name
from storage.summaries.records import StudySummary, as_json, joined, lines, ranked
from storage.tables.conditions import has_later_revision
from storage.tables.schema import (
    deliveries,
    findings,
    instances,
    jobs,
    objects,
    studies,
)

_IN_WORK = (JobState.QUEUED, JobState.RUNNING)


@dataclass(slots=True)
class _Work:
    """The kinds and states of a study's open jobs, and its status after the last report."""

    jobs: set[tuple[str, str]] = field(default_factory=set)
    status: str = ""
    detail: str = ""

    def has(self, states: Collection[str], kind: str | None = None) -> bool:
        """Return True if a job is in one of the states."""
        return any(state in states and kind in (None, of_kind) for of_kind, state in self.jobs)


def compute(connection: Connection, keys: Collection[StudyKey]) -> dict[StudyKey, StudySummary]:
    """Return the summaries of these studies; a study without instances has none."""
    named = {
        "uids": sorted({key.study_instance_uid for key in keys}),
        "subjects": sorted(key.subject for key in keys),
    }
    films: dict[StudyKey, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(_FILMS, named):
        films[StudyKey(row.source, row.study_instance_uid)].append(row)
    found: dict[StudyKey, list[tuple[str, float]]] = defaultdict(list)
    for source, uid, label, probability in connection.execute(_POSITIVES, named):
        found[StudyKey(source, uid)].append((label, probability))
    work = _load_work(connection, named)
    return {
        key: _summary(films[key], found.get(key, []), work.get(key, _Work()))
        for key in keys
        if key in films
    }


def _load_work(connection: Connection, named: Mapping[str, Any]) -> dict[StudyKey, _Work]:
    found: dict[StudyKey, _Work] = defaultdict(_Work)
    for what, source, uid, value, detail in connection.execute(_WORK, named):
        if what == JobKind.REPORT:
            found[StudyKey.of_subject(uid)].jobs.add((what, value))
        elif what == _STATUS:
            work = found[StudyKey(source, uid)]
            work.status, work.detail = value, detail
        else:
            found[StudyKey(source, uid)].jobs.add((what, value))
    return found


def _summary(
    films: Sequence[Row[Any]], found: Iterable[tuple[str, float]], work: _Work
) -> StudySummary:
    here = [film for film in films if not film.is_replaced and film.set_aside_at is None]
    last = films[-1]
    state = _state(here, work)
    reasons = {film.reason for film in here if film.state == InstanceState.NOT_ANALYSED}
    hold = [work.detail.partition(":")[0]] if state is StudyState.HELD else []
    return StudySummary(
        patient_id=last.patient_id,
        patient_name=last.patient_name or "",
        patient_sex=last.patient_sex or "",
        patient_birth_date=last.patient_birth_date or "",
        accession_number=last.accession_number,
        study_date=last.study_date,
        modality=joined([film.modality for film in films]),
        senders=joined([film.calling_ae_title for film in films]),
        films=len(here),
        analysed=sum(film.state == InstanceState.ANALYSED for film in here),
        first_received_at=min(film.received_at for film in films),
        last_received_at=max(film.received_at for film in films),
        state=state,
        reasons=as_json([*hold, *sorted(reason for reason in reasons if reason)]),
        positives=as_json(ranked(found)),
        mark=_mark(films, here, state),
        patient_key=lines([folded(film.patient_id) for film in films]),
        name_key=lines([folded_name(film.patient_name or "") for film in films]),
        accession_key=lines([folded(film.accession_number) for film in films]),
    )


def _state(here: Sequence[Row[Any]], work: _Work) -> StudyState:
    if work.status == StudyStatus.HELD:
        return StudyState.HELD
    if work.has((JobState.PARKED,)):
        return StudyState.PARKED
    if work.has(_IN_WORK, JobKind.ANALYSE):
        return StudyState.WAITING
    if work.has(_IN_WORK, JobKind.REPORT):
        return StudyState.ANALYSED
    if work.status in (StudyStatus.REPORTED, StudyStatus.UNCHANGED):
        return StudyState.REPORTED
    if not work.status and any(film.state == InstanceState.ANALYSED for film in here):
        return StudyState.ANALYSED
    return StudyState.NOT_ANALYSED


def _mark(films: Sequence[Row[Any]], here: Sequence[Row[Any]], state: StudyState) -> ImageMark:
    """Return why the study does not count, or is in doubt."""
    if state is StudyState.HELD:
        return ImageMark.IN_DOUBT
    if not here:
        is_moved = all(film.set_aside_at is None for film in films)
        return ImageMark.SUPERSEDED if is_moved else ImageMark.SET_ASIDE
    if all(film.rejected_by not in (None, RETENTION_EXPIRED) for film in here):
        return ImageMark.REJECTED
    return ImageMark.NONE


_UIDS: BindParameter[Any] = bindparam("uids", expanding=True)
_IN_STUDIES = instances.c.study_instance_uid.in_(_UIDS)
_STATUS = "status"
_CLOSED = (JobState.DONE, JobState.DISCARDED)

OF_FILM = (
    "patient_id",
    "patient_name",
    "patient_sex",
    "patient_birth_date",
    "accession_number",
    "study_date",
    "modality",
)
"""Columns of a film that its study has, too."""
_FILMS: Select[tuple[Any, ...]] = (
    select(
        *(
            instances.c[name]
            for name in (
                "source",
                "study_instance_uid",
                *OF_FILM,
                "calling_ae_title",
                "received_at",
                "state",
                "reason",
                "set_aside_at",
                "rejected_by",
            )
        ),
        has_later_revision().label("is_replaced"),
    )
    .where(_IN_STUDIES)
    .order_by(instances.c.id)
)

# A film that was rejected, replaced or set aside does not count, nor do its findings.
_POSITIVES: Select[tuple[Any, ...]] = (
    select(
        instances.c.source,
        instances.c.study_instance_uid,
        findings.c.label,
        func.max(findings.c.probability),
    )
    .join(findings, findings.c.instance_id == instances.c.id)
    .where(
        _IN_STUDIES,
        findings.c.present,
        instances.c.set_aside_at.is_(None),
        func.coalesce(instances.c.rejected_by, RETENTION_EXPIRED) == RETENTION_EXPIRED,
        ~has_later_revision(),
    )
    .group_by(instances.c.source, instances.c.study_instance_uid, findings.c.label)
)


def _text(column: Any) -> Any:
    return cast(column, String)


# With NOT IN the database reads the jobs of the study, not an index of all parked jobs.
_OF_ANALYSES = (
    select(
        literal(JobKind.ANALYSE.value),
        instances.c.source,
        instances.c.study_instance_uid,
        _text(jobs.c.state),
        literal(""),
    )
    .join(
        jobs,
        and_(jobs.c.kind == JobKind.ANALYSE, jobs.c.subject == cast(instances.c.id, Text)),
    )
    .where(_IN_STUDIES, jobs.c.state.not_in(_CLOSED))
    .distinct()
)
_OF_REPORTS = select(
    literal(JobKind.REPORT.value), literal(""), jobs.c.subject, _text(jobs.c.state), literal("")
).where(
    jobs.c.kind == JobKind.REPORT,
    jobs.c.subject.in_(bindparam("subjects", expanding=True)),
    jobs.c.state.not_in(_CLOSED),
)
_OF_DELIVERIES = (
    select(
        literal(JobKind.DELIVER.value),
        objects.c.source,
        objects.c.study_instance_uid,
        literal(JobState.PARKED.value),
        literal(""),
    )
    .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
    .join(jobs, jobs.c.id == deliveries.c.job_id)
    .where(
        objects.c.study_instance_uid.in_(_UIDS),
        jobs.c.state.not_in((*_CLOSED, *_IN_WORK)),
    )
    .distinct()
)
_OF_COMMITMENTS = (
    select(
        literal(JobKind.COMMIT.value),
        objects.c.source,
        objects.c.study_instance_uid,
        literal(JobState.PARKED.value),
        literal(""),
    )
    .join(deliveries, deliveries.c.sop_instance_uid == objects.c.sop_instance_uid)
    .join(
        jobs,
        and_(
            jobs.c.kind == JobKind.COMMIT,
            jobs.c.subject == objects.c.study_instance_uid + "@" + deliveries.c.destination,
        ),
    )
    .where(
        objects.c.study_instance_uid.in_(_UIDS),
        jobs.c.state.not_in((*_CLOSED, *_IN_WORK)),
    )
    .distinct()
)
_OF_STATUS = select(
    literal(_STATUS),
    studies.c.source,
    studies.c.study_instance_uid,
    _text(studies.c.status),
    case((studies.c.status == StudyStatus.HELD, studies.c.detail), else_=""),
).where(studies.c.study_instance_uid.in_(_UIDS))
_WORK = union_all(_OF_ANALYSES, _OF_REPORTS, _OF_DELIVERIES, _OF_COMMITMENTS, _OF_STATUS)
