"""Builds the view of a study from its rows."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from cxr_model.finding_text import NOT_CALIBRATED, odds_over_threshold
from daemon.config.settings import Config
from daemon.web.studies.list_view import SEXES, STATE_LEVELS, STATE_WORDS, age_in_years
from daemon.web.studies.model_words import ModelCard, ModelWords
from daemon.web.studies.object_builder import destinations_of, object_of
from daemon.web.studies.study_view import (
    FilmView,
    FindingView,
    JobView,
    ReviewView,
    StudyDetails,
)
from daemon.web.studies.timeline_words import steps_of
from daemon.words.notes import explained
from daemon.words.reasons import (
    PURGED,
    REJECTED,
    SET_ASIDE,
    Advice,
    advice_on,
    advice_on_status,
    rejection_words,
)
from daemon.worker.logs.redaction import without_comment
from dicom_io.report.parts import ReportParts
from storage.records import (
    FindingRecord,
    Instance,
    InstanceState,
    Job,
    JobState,
    ObjectKind,
    Priority,
)
from storage.reviews import FILM, Review
from storage.search.study_records import StudyFilm, StudyView


class StudyBuilder:
    """Builds views of studies for one configuration."""

    def __init__(self, config: Config, card: ModelCard) -> None:
        self._config = config
        self._with_names = config.web.patient_names
        self._card = card

    def destinations(self, source: str) -> list[str]:
        """Return the names of the destinations that may have results of a source."""
        routing = self._config.routing
        peers = self._config.receivers
        return [peer.name for peer in peers if routing.allows(source, peer.name)]

    def details(self, found: StudyView, report: ReportParts | None) -> StudyDetails:
        """Return the view of a study with the text of its last report."""
        row = found.row
        reviews: dict[int, list[Review]] = defaultdict(list)
        for review in found.reviews:
            reviews[review.instance_id].append(review)
        card = self._card.words()
        films = [_film(film, reviews[film.instance.id], card) for film in found.films]
        places = {film.instance.id: film.number for film in found.films}
        sent = found.by_object
        objects = [object_of(made, places, sent) for made in found.objects]
        reports = [each for each in objects if each.kind is ObjectKind.REPORT]
        uids = {film.instance.sop_instance_uid: film.number for film in found.films}
        numbers = {each.sop_instance_uid: place for place, each in enumerate(reports, 1)}
        return StudyDetails(
            study_instance_uid=found.key.study_instance_uid,
            source=found.key.source,
            patient_id=row.patient_id,
            patient_name=row.patient_name if self._with_names else None,
            sex=SEXES.get(row.sex, row.sex),
            age=age_in_years(row.birth_date, row.study_date),
            accession_number=row.accession_number,
            study_date=row.study_date,
            modality=row.modality,
            senders=row.senders,
            received_at=row.first_received_at,
            last_received_at=row.last_received_at,
            state=row.state,
            state_words=STATE_WORDS[row.state],
            level=STATE_LEVELS[row.state],
            priority=_priority(found),
            status=advice_on_status(found.status) if found.status is not None else None,
            status_detail=found.status_detail,
            hold=advice_on(found.hold.reason) if found.hold is not None else None,
            hold_detail=found.hold.detail if found.hold is not None else "",
            films=tuple(film for film in films if not film.mark),
            earlier=tuple(film for film in films if film.mark),
            report=report,
            reports=tuple(reports),
            objects=tuple(objects),
            destinations=destinations_of(objects),
            jobs=tuple(_job(job) for job in found.jobs),
            timeline=tuple(steps_of(found.timeline, uids, numbers)),
        )


def _priority(found: StudyView) -> str:
    ended = (JobState.DONE, JobState.DISCARDED)
    waiting = (job.priority for job in found.jobs if job.state not in ended)
    sent = (film.instance.priority for film in found.films)
    return Priority(max((*waiting, *sent), default=0)).name.lower()


def _mark(film: StudyFilm) -> str:
    """Return why a film does not count; empty if it does."""
    if film.instance.is_rejected:
        return "rejected"
    if film.instance.set_aside_at is not None:
        return "set aside"
    if film.moved_to is not None:
        return "moved to another study"
    return "" if film.is_latest else "replaced by a later revision"


def _film(found: StudyFilm, reviews: Sequence[Review], card: ModelWords | None) -> FilmView:
    film = found.instance
    own = card if card is not None and card.sha256 == film.model_sha256 else None
    by_label: dict[str, list[ReviewView]] = defaultdict(list)
    for review in reviews:
        by_label[review.label].append(
            ReviewView(review.reviewer, review.reviewed_at, review.verdict, review.remark)
        )
    return FilmView(
        number=film.id,
        place=found.number,
        sop_instance_uid=film.sop_instance_uid,
        revision=film.revision,
        modality=film.modality,
        view_position=film.view_position or "",
        sender=film.calling_ae_title,
        received_at=film.received_at,
        received_again_at=film.received_again_at,
        state=film.state,
        advice=advice_on(film.reason) if film.reason else None,
        detail=film.detail or "",
        mark=_mark(found),
        marks=tuple(_advice_on_marks(film)),
        purged_at=film.purged_at,
        analysed_at=film.analysed_at,
        model=" ".join(filter(None, (film.model_name, film.model_version))),
        model_sha256=film.model_sha256 or "",
        is_calibrated=NOT_CALIBRATED not in film.notes,
        operating_point=_operating_point(film, own),
        findings=tuple(
            _finding(finding, own, by_label[finding.label]) for finding in ranked(film.findings)
        ),
        notes=tuple(explained(note) for note in film.notes),
        remarks=tuple(by_label[FILM]),
    )


def _advice_on_marks(film: Instance) -> Iterable[Advice]:
    if film.is_rejected:
        advice = advice_on(REJECTED)
        code = rejection_words(film.rejected_by or "")
        yield Advice(f"{REJECTED} ({code})", advice.words, advice.action)
    if film.set_aside_at is not None:
        yield advice_on(SET_ASIDE)
    if film.purged_at is not None:
        yield advice_on(PURGED)


def _operating_point(film: Instance, card: ModelWords | None) -> tuple[str, ...]:
    if film.state is not InstanceState.ANALYSED:
        return ()
    if card is None:
        return (
            "This film was analysed with another model than the one that is configured now: its"
            " report names the rule that chose the thresholds.",
        )
    told = (card.operating_point, card.false_calls, f"{card.calibration}.")
    return tuple(sentence for sentence in told if sentence)


def ranked(findings: Iterable[FindingRecord]) -> list[FindingRecord]:
    """Return findings in the order of a report: present ones first.

    Both kinds are in the order of their odds over those at their threshold, the highest first.
    """
    return sorted(
        findings,
        key=lambda one: (not one.present, -odds_over_threshold(one.probability, one.threshold)),
    )


def _finding(
    finding: FindingRecord, card: ModelWords | None, reviews: Sequence[ReviewView]
) -> FindingView:
    return FindingView(
        label=finding.label,
        probability=finding.probability,
        threshold=finding.threshold,
        present=finding.present,
        location=card.locations.get(finding.label, "") if card is not None else "",
        reviews=tuple(reviews),
    )


def _job(job: Job) -> JobView:
    task = f"{job.kind} to {job.lane}" if job.lane else str(job.kind)
    if job.priority:
        task = f"STAT {task}"
    # A destination may name the patient in its words; the page of the job has them for operators.
    error = without_comment(job.last_error or "")
    return JobView(job.id, task, job.state, job.attempts, error, job.updated_at)
