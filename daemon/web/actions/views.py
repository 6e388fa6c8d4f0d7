"""The contents of the pages that ask for a confirmation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.config.products import objects_for
from daemon.config.settings import Config
from storage.queue.seen import SeenJob
from storage.records import JobKind, JobState, ListedJob, StudyKey
from storage.store import Store


@dataclass(frozen=True, slots=True)
class JobToChange:
    """A job that the operator is asked about; `seen` is its state as the page shows it."""

    id: int
    seen: str
    kind: JobKind
    state: JobState
    peer: str
    study_instance_uid: str
    accession_number: str
    attempts: int
    error: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class FilmOfStudy:
    """A film that can be set aside or analysed again."""

    number: int
    sop_instance_uid: str
    revision: int
    received_at: datetime
    sender: str


@dataclass(frozen=True, slots=True)
class StudyActs:
    """The acts that are possible on a study, and its state as this view shows it.

    `seen` goes back with an act, which is refused if the study has changed since. `held` is the
    reason of a hold, and `patients` has the films by patient then. `destinations` are those that
    may get results of the study, with the number of results that each would get.
    """

    study_instance_uid: str
    source: str
    seen: str
    films: tuple[FilmOfStudy, ...]
    reported: bool
    held: str | None
    patients: tuple[tuple[FilmOfStudy, ...], ...]
    destinations: dict[str, int]

    @property
    def key(self) -> StudyKey:
        """The name of the study."""
        return StudyKey(self.source, self.study_instance_uid)


def jobs_to_change(store: Store, numbers: Sequence[int]) -> tuple[JobToChange, ...]:
    """Return the jobs with these numbers, as they are now; an unknown number is left out."""
    return tuple(_job(listed) for listed in store.job_list.chosen(numbers))


def _job(listed: ListedJob) -> JobToChange:
    job = listed.job
    return JobToChange(
        id=job.id,
        seen=str(SeenJob.of(job)),
        kind=job.kind,
        state=job.state,
        peer=job.lane or "",
        study_instance_uid=listed.study_instance_uid,
        accession_number=listed.accession_number,
        attempts=job.attempts,
        error=job.last_error or "",
        changed_at=job.updated_at,
    )


def study_acts(config: Config, store: Store, key: StudyKey) -> StudyActs:
    """Return the acts that are possible on a study. Raises StorageError."""
    # Read first: a change during this call is then a change since the view.
    seen = store.studies.seen(key)
    study = store.results.study(key.study_instance_uid, key.source)
    return StudyActs(
        study_instance_uid=key.study_instance_uid,
        source=key.source,
        seen=str(seen),
        films=tuple(
            FilmOfStudy(
                item.id,
                item.sop_instance_uid,
                item.revision,
                item.received_at,
                item.calling_ae_title,
            )
            for item in study.instances
        ),
        reported=bool(study.reports),
        held=str(study.hold) if study.hold is not None else None,
        patients=_patients(store, key) if study.hold is not None else (),
        destinations={
            peer.name: len(objects_for(peer, study.last_reports, study.instances))
            for peer in config.receivers
            if config.routing.allows(key.source, peer.name)
        },
    )


def _patients(store: Store, key: StudyKey) -> tuple[tuple[FilmOfStudy, ...], ...]:
    return tuple(
        tuple(
            FilmOfStudy(
                film.number,
                film.sop_instance_uid,
                film.revision,
                film.received_at,
                film.calling_ae_title,
            )
            for film in films
        )
        for films in store.studies.patients(key)
    )
