"""The value objects of one study's view: its films, results, deliveries and history."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from storage.records import (
    Instance,
    Job,
    JobState,
    ObjectKind,
    ObjectRecord,
    StudyHold,
    StudyKey,
    StudyStatus,
)
from storage.reviews import Review
from storage.search.records import StudyRow


class TimelineKind(StrEnum):
    """The kinds of events in the history of a study."""

    ASSOCIATION = "association"
    RECEIVED = "received"
    RECEIVED_AGAIN = "received_again"
    REJECTED = "rejected"
    PATIENT_CHANGED = "patient_changed"
    SET_ASIDE = "set_aside"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    REPORTED = "reported"
    HELD = "held"
    RELEASED = "released"
    PARKED = "parked"
    RETRIED = "retried"
    DISCARDED = "discarded"
    ANALYSIS_REQUESTED = "analysis_requested"
    DELIVERY_REQUESTED = "delivery_requested"
    DELIVERED = "delivered"
    COMMITMENT_REQUESTED = "commitment_requested"
    COMMITTED = "committed"
    WORKITEM_FOUND = "workitem_found"
    WORKITEM_CLAIMED = "workitem_claimed"
    WORKITEM_CANCEL_REQUESTED = "workitem_cancel_requested"
    WORKITEM_ENDED = "workitem_ended"
    REVIEWED = "reviewed"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """An event in the history of a study.

    Attributes:
        at: when it happened; of several, the first of them.
        kind: the kind of event.
        subject: the SOP Instance UID of the film or the report, the name of a destination, the
            job, as `deliver 17`, or the final state of a workitem.
        detail: the reason, the model, the status or the like; not a text of a reviewer.
        actor: the peer, worker or person, where it is known.
        host: the address of the actor, where it is known.
        count: number of events in a row that differ in their time alone.
    """

    at: datetime
    kind: TimelineKind
    subject: str
    detail: str
    actor: str = ""
    host: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class StudyFilm:
    """One revision of a film. `number` counts the films of the study from 1, with its revisions.

    A film that a later revision replaces is not the latest; if that one is in another study, it has
    moved there.
    """

    number: int
    instance: Instance
    is_latest: bool
    moved_to: StudyKey | None


@dataclass(frozen=True, slots=True)
class MadeObject:
    """An object of a study, with the time of its making."""

    record: ObjectRecord
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StudyDelivery:
    """A delivery of an object of a study to a destination, with its job.

    `sent_as` is the SOP class as which it was sent, empty if it is the object's own or it was not
    sent. `coerced_uid` is the UID under which the destination keeps it, if it chose another.
    `answer` is what a destination that is no DICOM node answered, in a few words.
    """

    sop_instance_uid: str
    kind: ObjectKind
    destination: str
    state: JobState
    attempts: int
    not_before: datetime
    delivered_at: datetime | None
    dimse_status: int | None
    sent_as: str
    coerced_uid: str
    committed_at: datetime | None
    held_at: datetime | None
    last_error: str
    job_id: int
    answer: str = ""


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study with everything that the store knows of it.

    Attributes:
        key: its name.
        row: its row in the list of studies.
        films: every revision of its instances, with findings and objects, oldest first.
        reports: its reports in all their forms, oldest first.
        objects: all objects, the reports among them, oldest first; also those of an earlier
            analysis, which belong to no film any more.
        deliveries: in the order of destinations, then of objects.
        jobs: its jobs of every kind.
        reviews: the reviews that count.
        hold: why it is in doubt, if it is.
        status: the result of its last report; None before the first.
        status_detail: the reason for that status.
        status_at: when the status was set.
        timeline: its history, oldest first.
    """

    key: StudyKey
    row: StudyRow
    films: tuple[StudyFilm, ...]
    reports: tuple[MadeObject, ...]
    objects: tuple[MadeObject, ...]
    deliveries: tuple[StudyDelivery, ...]
    jobs: tuple[Job, ...]
    reviews: tuple[Review, ...]
    hold: StudyHold | None
    status: StudyStatus | None
    status_detail: str
    status_at: datetime | None
    timeline: tuple[TimelineEvent, ...]

    @property
    def current(self) -> tuple[StudyFilm, ...]:
        """The films that belong to the study now: the latest revisions, none set aside."""
        return tuple(
            film for film in self.films if film.is_latest and film.instance.set_aside_at is None
        )

    @property
    def by_object(self) -> Mapping[str, tuple[StudyDelivery, ...]]:
        """The deliveries of each object by its SOP Instance UID."""
        found: dict[str, tuple[StudyDelivery, ...]] = {}
        for delivery in self.deliveries:
            uid = delivery.sop_instance_uid
            found[uid] = (*found.get(uid, ()), delivery)
        return found
