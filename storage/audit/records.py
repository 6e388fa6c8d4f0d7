"""The value objects of the audit trail."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class AuditKind(StrEnum):
    """The kinds of audited events."""

    APPLICATION_STARTED = "application_started"
    APPLICATION_STOPPED = "application_stopped"
    ROLE_FAILED = "role_failed"
    CONFIGURATION_CHANGED = "configuration_changed"
    ASSOCIATION_ACCEPTED = "association_accepted"
    ASSOCIATION_REFUSED = "association_refused"
    INSTANCE_RECEIVED = "instance_received"
    INSTANCE_REFUSED = "instance_refused"
    MESSAGE_REFUSED = "message_refused"
    INSTANCE_ANALYSED = "instance_analysed"
    INSTANCE_NOT_ANALYSED = "instance_not_analysed"
    INSTANCES_REJECTED = "instances_rejected"
    PATIENT_CHANGED = "patient_changed"
    STUDY_REPORTED = "study_reported"
    STUDY_HELD = "study_held"
    STUDY_RELEASED = "study_released"
    STUDY_VIEWED = "study_viewed"
    FILM_VIEWED = "film_viewed"
    STUDIES_SEARCHED = "studies_searched"
    INSTANCES_RETRIEVED = "instances_retrieved"
    REVIEWED = "reviewed"
    OBJECT_DELIVERED = "object_delivered"
    COMMITMENT_RECEIVED = "commitment_received"
    COMMITMENT_GIVEN = "commitment_given"
    WORKITEM_CLAIMED = "workitem_claimed"
    WORKITEM_CANCEL_REQUESTED = "workitem_cancel_requested"
    WORKITEM_ENDED = "workitem_ended"
    JOB_PARKED = "job_parked"
    JOB_RETRIED = "job_retried"
    JOB_DISCARDED = "job_discarded"
    JOB_PRIORITY_CHANGED = "job_priority_changed"
    ANALYSIS_REQUESTED = "analysis_requested"
    DELIVERY_REQUESTED = "delivery_requested"
    ARCHIVE_QUERIED = "archive_queried"
    RETRIEVAL_ORDERED = "retrieval_ordered"
    RETRIEVAL_STOPPED = "retrieval_stopped"
    DATA_EXPORTED = "data_exported"
    LOGIN = "login"
    PURGED = "purged"
    BACKED_UP = "backed_up"
    STORE_MOVED = "store_moved"
    TOKEN_CHANGED = "token_changed"  # noqa: S105 - the name of an event
    SOURCES_ADOPTED = "sources_adopted"
    SPOOL_ADOPTED = "spool_adopted"
    AUDIT_EXPORTED = "audit_exported"
    SECURITY_ALERT = "security_alert"


class AuditOutcome(StrEnum):
    """The outcome of an event."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event to record. It must not contain a patient's name or number.

    Attributes:
        kind: the kind of event.
        outcome: success or failure.
        actor: the peer (calling AE title or destination name), the user of a command, or the
            worker.
        host: the address of the actor.
        subject: the study, instance, job … of the event; see `subject_of`.
        detail: free text.
    """

    kind: AuditKind
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    actor: str = ""
    host: str = ""
    subject: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the trail, as stored in the database.

    `recorded_at` is UTC, written as 2026-03-01T12:00:00.000000Z.
    """

    number: int
    recorded_at: str
    kind: str
    outcome: str
    actor: str
    host: str
    subject: str
    detail: str
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last row of a trail. An operator notes it elsewhere, to verify later trails with it."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NUMBER:HASH`; raises ValueError."""
        number, _, digest = text.strip().partition(":")
        if not number.isdecimal() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError("a head is written NUMBER:HASH, as `cxrd audit verify` prints it")
        return cls(int(number), digest)


def subject_of(**names: object) -> str:
    """Return the subject of an event: `study=1.2.3 instance=1.2.3.4`, without empty values.

    White space is removed from the values; a valid UID has no white space.
    """
    words = {
        name: "".join(str(value).split()) for name, value in names.items() if value is not None
    }
    return " ".join(f"{name}={word}" for name, word in words.items() if word)


def parse_subject(subject: str) -> dict[str, str]:
    """Return the values of a subject by name; the inverse of `subject_of`."""
    pairs = (word.partition("=") for word in subject.split(" "))
    return {name: value for name, found, value in pairs if found}
