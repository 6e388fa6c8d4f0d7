"""Reviews: what people say about the findings of a film, and who said it when.

Rows are only added. The newest row of a film, a label and a reviewer counts; with neither verdict
nor remark it takes the earlier ones back.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import StudyChangedError, UnknownRecordError
from storage.images.doubt import counts
from storage.records import StudyKey, Verdict
from storage.tables.conditions import of_study
from storage.tables.database import Database
from storage.tables.schema import findings, instances, reviews

FILM = ""
"""The label of a remark on the film as a whole."""


@dataclass(frozen=True, slots=True)
class NewReview:
    """A review to record.

    `label` is a finding's, or FILM. `present` is the call that the reviewer saw; None if it was
    not noted.
    """

    instance_id: int
    label: str
    verdict: Verdict | None
    remark: str
    reviewer: str
    present: bool | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A review as recorded. `present` is the call that its verdict is about; None without one."""

    source: str
    sop_instance_uid: str
    instance_id: int
    label: str
    verdict: Verdict | None
    present: bool | None
    remark: str
    reviewer: str
    reviewed_at: datetime


@dataclass(frozen=True, slots=True)
class ReviewedLabel:
    """A verdict on a finding, with the finding as it is now: a label for calibration."""

    instance_id: int
    sop_instance_uid: str
    source: str
    study_instance_uid: str
    patient_id: str
    label: str
    called_present: bool
    verdict: Verdict
    reviewer: str
    reviewed_at: datetime
    logit: float
    probability: float
    threshold: float
    model_sha256: str

    @property
    def is_present(self) -> bool:
        """True if the reviewer says that the finding is present."""
        return self.called_present is (self.verdict is Verdict.AGREE)


class Reviews:
    """The verdicts and remarks of people."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def record(self, review: NewReview, host: str = "") -> Review:
        """Add a review and its audit row, in which the remark is not; return it as recorded.

        `host` is the reviewer's address. Raises UnknownRecordError for an unknown film or a label
        that is not among its findings, StudyChangedError if the call is no longer the one that the
        reviewer saw, ValueError for a verdict on the film as a whole.
        """
        if review.label == FILM and review.verdict is not None:
            raise ValueError("a verdict is about one finding: name its label")
        now = self._now()
        with self._database.writing() as connection:
            film = connection.execute(_film(review.instance_id)).one_or_none()
            if film is None:
                raise UnknownRecordError(f"there is no instance {review.instance_id} in the store")
            present = _call(connection, review)
            recorded = Review(
                source=film.source,
                sop_instance_uid=film.sop_instance_uid,
                instance_id=review.instance_id,
                label=review.label,
                verdict=review.verdict,
                present=present,
                remark=review.remark,
                reviewer=review.reviewer,
                reviewed_at=now,
            )
            connection.execute(insert(reviews).values(_cells(recorded)))
            entry = AuditEntry(
                AuditKind.REVIEWED,
                actor=review.reviewer,
                host=host,
                subject=subject_of(
                    study=film.study_instance_uid,
                    source=film.source,
                    instance=film.sop_instance_uid,
                    sop_class=film.sop_class_uid,
                    revision=film.revision,
                ),
                detail=_detail(review),
            )
            append(connection, entry, now)
        return recorded

    def of_study(self, key: StudyKey) -> tuple[Review, ...]:
        """Return the reviews that count of every revision of a study's films, oldest first."""
        with self._database.reading() as connection:
            return load_reviews(connection, of_study(instances, key))

    def labels(self) -> tuple[ReviewedLabel, ...]:
        """Return the verdicts that count, oldest first, without films that were withdrawn.

        Verdicts on a finding that the film's latest analysis no longer has are left out.
        """
        query = (
            _newest(
                reviews.c.instance_id,
                reviews.c.sop_instance_uid,
                reviews.c.source,
                instances.c.study_instance_uid,
                instances.c.patient_id,
                reviews.c.label,
                reviews.c.present.label("called_present"),
                reviews.c.verdict,
                reviews.c.reviewer,
                reviews.c.reviewed_at,
                findings.c.logit,
                findings.c.probability,
                findings.c.threshold,
                func.coalesce(instances.c.model_sha256, "").label("model_sha256"),
            )
            .join(
                findings,
                (findings.c.instance_id == reviews.c.instance_id)
                & (findings.c.label == reviews.c.label),
            )
            .where(reviews.c.verdict.is_not(None), counts())
        )
        with self._database.reading() as connection:
            return tuple(ReviewedLabel(**row) for row in connection.execute(query).mappings())

    def logits_of(self, model_sha256: str, most: int) -> list[tuple[float, ...]]:
        """Return the logits of the newest films that a model analysed, at most so many.

        Those of a film are in the order of its findings.
        """
        films = (
            select(instances.c.id)
            .where(instances.c.model_sha256 == model_sha256, counts())
            .order_by(instances.c.id.desc())
            .limit(most)
        )
        query = (
            select(findings.c.instance_id, findings.c.logit)
            .where(findings.c.instance_id.in_(films))
            .order_by(findings.c.instance_id, findings.c.position)
        )
        found: dict[int, list[float]] = defaultdict(list)
        with self._database.reading() as connection:
            for instance_id, logit in connection.execute(query):
                found[instance_id].append(logit)
        return [tuple(logits) for logits in found.values()]


def load_reviews(connection: Connection, condition: ColumnElement[bool]) -> tuple[Review, ...]:
    """Return the reviews that count of these instances, oldest first."""
    columns = [reviews.c[name] for name in Review.__slots__]
    query = _newest(*columns).where(
        condition, reviews.c.verdict.is_not(None) | (reviews.c.remark != "")
    )
    return tuple(Review(**row) for row in connection.execute(query).mappings())


def _newest(*columns: ColumnElement[Any]) -> Select[tuple[Any, ...]]:
    """Return the query for the newest review of each film, label and reviewer."""
    later = reviews.alias()
    is_replaced = (
        select(later.c.id)
        .where(
            later.c.instance_id == reviews.c.instance_id,
            later.c.label == reviews.c.label,
            later.c.reviewer == reviews.c.reviewer,
            later.c.id > reviews.c.id,
        )
        .exists()
    )
    return (
        select(*columns)
        .select_from(reviews)
        .join(instances, instances.c.id == reviews.c.instance_id)
        .where(~is_replaced)
        .order_by(reviews.c.id)
    )


def _film(instance_id: int) -> Select[tuple[Any, ...]]:
    names: Sequence[str] = (
        "source",
        "study_instance_uid",
        "sop_instance_uid",
        "sop_class_uid",
        "revision",
    )
    return select(*(instances.c[name] for name in names)).where(instances.c.id == instance_id)


def _call(connection: Connection, review: NewReview) -> bool | None:
    """Return the present call of the review's finding; None for a remark on the film."""
    if review.label == FILM:
        return None
    present: bool | None = connection.scalar(
        select(findings.c.present).where(
            findings.c.instance_id == review.instance_id, findings.c.label == review.label
        )
    )
    if present is None:
        raise UnknownRecordError(
            f"instance {review.instance_id} has no finding called {review.label!r}"
        )
    if review.present is not None and review.present is not present:
        raise StudyChangedError(
            f"the finding {review.label} was analysed again meanwhile: look at it once more"
        )
    return present


def _cells(review: Review) -> dict[str, Any]:
    return {name: getattr(review, name) for name in Review.__slots__}


def _detail(review: NewReview) -> str:
    what = review.label or "film"
    said = [review.verdict.value] if review.verdict else []
    if review.remark:
        said.append("remark")
    return f"{what}: {' and '.join(said) or 'taken back'}"
