"""The value objects of a study's page and of its JSON twin."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from daemon.words.findings import meaning_of, title_of
from daemon.words.notes import ExplainedNote
from daemon.words.reasons import Advice
from dicom_io.gate.reasons import Reason
from dicom_io.report.parts import ReportParts
from storage.records import InstanceState, ObjectKind, Standing, StudyState, Verdict

_WITHOUT_PICTURE = frozenset(
    {
        Reason.UNSUPPORTED_SOP_CLASS,
        Reason.OWN_RESULT,
        Reason.REJECTION_NOTE,
        Reason.NO_PIXELS,
        Reason.UNREADABLE_OBJECT,
        Reason.UNDECODABLE_PIXELS,
        Reason.DECODER_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class ReviewView:
    """A reviewer's verdict on a finding, or remark on a film."""

    reviewer: str
    reviewed_at: datetime
    verdict: Verdict | None
    remark: str


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding of a film. `location` says how far its map can be believed; empty if unknown."""

    label: str
    probability: float
    threshold: float
    present: bool
    location: str
    reviews: tuple[ReviewView, ...]

    @property
    def title(self) -> str:
        """Name of the finding for people."""
        return title_of(self.label)

    @property
    def meaning(self) -> str:
        """A sentence on what the finding means."""
        return meaning_of(self.label)

    def verdict_of(self, reviewer: str) -> str:
        """Return the verdict of a reviewer; empty without one."""
        given = [each.verdict for each in self.reviews if each.reviewer == reviewer]
        return (given[0] or "") if given else ""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """The delivery of an object to a destination.

    `words` say its state, `level` is the class of its tag. `status` is the answer of the
    destination in words. `coerced_uid` is the UID under which the destination keeps the object, if
    it chose another.
    """

    destination: str
    words: str
    level: str
    attempts: int
    delivered_at: datetime | None
    status: str
    committed_at: datetime | None
    coerced_uid: str
    error: str
    job: int


@dataclass(frozen=True, slots=True)
class CountedState:
    """The number of deliveries in one state; see DeliveryView."""

    words: str
    level: str
    count: int


@dataclass(frozen=True, slots=True)
class DestinationView:
    """The deliveries of a study to one destination. `error` is the last of those that wait."""

    name: str
    states: tuple[CountedState, ...]
    delivered_at: datetime | None
    committed_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object made here. `film` is the place of its film in the study; None for a report."""

    sop_instance_uid: str
    kind: ObjectKind
    film: int | None
    label: str
    form: str
    standing: Standing
    size: int
    made_at: datetime
    purged_at: datetime | None
    deliveries: tuple[DeliveryView, ...]

    @property
    def title(self) -> str:
        """The kind of the object, and its finding, for people."""
        words = self.kind.replace("_jpeg", " as JPEG").replace("_", " ")
        film = f" of film {self.film}" if self.film is not None else ""
        return f"{words}{film}: {title_of(self.label)}" if self.label else f"{words}{film}"


@dataclass(frozen=True, slots=True)
class FilmView:
    """One revision of a film with its results.

    `number` names it in URLs, `place` counts the films of the study. `advice` says why it was not
    analysed. `mark` says why it does not count; it is empty if the film counts. `operating_point`
    holds sentences on that of its model.
    """

    number: int
    place: int
    sop_instance_uid: str
    revision: int
    modality: str
    view_position: str
    sender: str
    received_at: datetime
    received_again_at: datetime | None
    state: InstanceState
    advice: Advice | None
    detail: str
    mark: str
    marks: tuple[Advice, ...]
    purged_at: datetime | None
    analysed_at: datetime | None
    model: str
    model_sha256: str
    is_calibrated: bool
    operating_point: tuple[str, ...]
    findings: tuple[FindingView, ...]
    notes: tuple[ExplainedNote, ...]
    remarks: tuple[ReviewView, ...]

    @property
    def present(self) -> int:
        """The number of findings present."""
        return sum(finding.present for finding in self.findings)

    @property
    def has_picture(self) -> bool:
        """True if a picture of the film can be asked for."""
        return self.advice is None or self.advice.code not in _WITHOUT_PICTURE

    def remark_of(self, reviewer: str) -> str:
        """Return the remark of a reviewer; empty without one."""
        return next((each.remark for each in self.remarks if each.reviewer == reviewer), "")


@dataclass(frozen=True, slots=True)
class JobView:
    """A job of the study."""

    number: int
    task: str
    state: str
    attempts: int
    error: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StepView:
    """An event in the history of the study, in words."""

    at: datetime
    words: str
    detail: str


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """A study with all its films, objects, deliveries and history.

    `patient_name` is None unless names are shown. `earlier` are films that do not count now:
    earlier revisions, films that moved, were rejected or were set aside. `priority` is stat if a
    film was sent as STAT, or a job of the study is STAT and has not ended; else routine.
    """

    study_instance_uid: str
    source: str
    patient_id: str
    patient_name: str | None
    sex: str
    age: int | None
    accession_number: str
    study_date: str
    modality: str
    senders: tuple[str, ...]
    received_at: datetime
    last_received_at: datetime
    state: StudyState
    state_words: str
    level: str
    priority: str
    status: Advice | None
    status_detail: str
    hold: Advice | None
    hold_detail: str
    films: tuple[FilmView, ...]
    earlier: tuple[FilmView, ...]
    report: ReportParts | None
    reports: tuple[ObjectView, ...]
    objects: tuple[ObjectView, ...]
    destinations: tuple[DestinationView, ...]
    jobs: tuple[JobView, ...]
    timeline: tuple[StepView, ...]

    @property
    def query(self) -> str:
        """The query that names the source in a URL; empty for a source that is not known."""
        return f"?{urlencode({'source': self.source})}" if self.source else ""
