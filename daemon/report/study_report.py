"""The content of a study's report, from the rows of the study and the headers of its images."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from daemon.analyse.result_objects import SERIES_NUMBERS, BuiltObject
from daemon.config.picture_form import DEFAULT_FORM, PictureForm
from daemon.config.products import of_kind
from daemon.words.reasons import NO_RESULT_YET, PURGED
from dicom_io.errors import NotDicomError
from dicom_io.gate.reasons import RESULTS, Reason, rejection_meaning
from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.classes import REPORT_CLASS
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import film_key, report_uid, series_uid, study_key
from dicom_io.read.header import read_header
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import (
    NotAnalysed,
    ObjectReference,
    PriorReport,
    ReportContent,
    ReportedFinding,
    ReportedImage,
)
from dicom_io.report.document import build_report
from storage.errors import IntegrityError, SpoolError, SpoolUnavailableError
from storage.records import Instance, InstanceState, ObjectKind, ObjectRecord, StudyResults

log = logging.getLogger("analyst")

_PURGED_DETAIL = "it was analysed for an earlier report and is no longer kept here"
_OUTDATED_DETAIL = "it was analysed with another model, and the analysis with this one failed"
_WAITING_DETAIL = "it has no result yet: its analysis waits for an operator or was discarded"
_UNREADABLE = (IntegrityError, NotDicomError, SpoolError)
_FILMS_NAMED = 3
_UNREADABLE_DETAIL = "it was analysed, and its file was damaged or lost before this report"

ReadFile = Callable[[str, str], bytes]
"""Reads a file of the spool by its relative path, and checks its SHA-256."""


@dataclass(frozen=True, slots=True)
class ReadImages:
    """The images that a report can describe, and the errors of the other files, by instance id.

    The images name no pictures yet.
    """

    described: Mapping[int, ReportedImage]
    unreadable: Mapping[int, Exception]


def report_uid_of(
    study: StudyResults,
    earlier: Sequence[ObjectRecord],
    model_sha256: str,
    unreadable: Collection[int] = (),
) -> str:
    """Return the SOP Instance UID of the report on the study's images in their present state.

    The UID follows from the report that this one follows, the last of `earlier`, and from one key
    per image, analysed or not. The key names the image, its bytes and its state: an image that a
    report of this model describes has another key than an image that it cannot describe, or than a
    rejected image. So has one whose patient has another identity now.
    """
    keys = [
        f"{item.sop_instance_uid}#{item.sha256}:"
        f"{_reason(item, model_sha256, unreadable) or item.state}{_without_region(item)}"
        f"{_of_patient(item)}"
        for item in _reportable(study)
    ]
    keys += [f"after {report.sop_instance_uid}" for report in earlier[-1:]]
    return report_uid(_key_of(study), keys, model_sha256)


def _without_region(item: Instance) -> str:
    """Name the findings present that the report shows no region of; empty if there are none."""
    labels = [one.label for one in item.findings if one.present and one.region is None]
    return f" without {','.join(labels)}" if labels else ""


def _of_patient(item: Instance) -> str:
    """Name the identity of the patient if it is not the one in the film's header."""
    return f" patient {item.identity_key}" if item.identity_key else ""


def _key_of(item: StudyResults | Instance) -> str:
    return study_key(item.source, item.study_instance_uid)


def _reason(item: Instance, model_sha256: str, unreadable: Collection[int]) -> str | None:
    """Return why there is no result of this model to report, or None if there is a result."""
    if item.is_rejected:
        return f"rejected {item.rejected_by}"
    if item.id in unreadable:
        return Reason.UNREADABLE_OBJECT
    if item.state is not InstanceState.ANALYSED or item.model_sha256 == model_sha256:
        return item.reason
    return Reason.ANALYSIS_FAILED if item.purged_at is None else PURGED


def _reportable(study: StudyResults) -> list[Instance]:
    """Return the instances that a report covers: all except results of an analysis, and notes.

    Otherwise a PACS that sends our own objects back would trigger a new report with every report.
    """
    left_out = RESULTS | {Reason.REJECTION_NOTE}
    return [item for item in study.instances if item.reason not in left_out]


def kept_and_analysed(study: StudyResults) -> list[Instance]:
    """Return the analysed images whose files are not purged, without the rejected ones."""
    return [item for item in analysed_images(study) if item.purged_at is None]


def analysed_images(study: StudyResults) -> list[Instance]:
    """Return the analysed images, without the rejected ones."""
    return [
        item
        for item in study.instances
        if item.state is InstanceState.ANALYSED and not item.is_rejected
    ]


def without_past_objects(study: StudyResults) -> StudyResults:
    """Return the study without the objects that name an earlier identity of its patient.

    An image has such objects if its analysis for the present identity failed or was discarded.
    """
    return replace(
        study,
        instances=tuple(
            replace(item, objects=()) if item.has_past_objects else item for item in study.instances
        ),
    )


def described(study: StudyResults, model_sha256: str) -> list[Instance]:
    """Return the images that a report describes: the images that this model has analysed."""
    return [item for item in kept_and_analysed(study) if item.model_sha256 == model_sha256]


def read_images(
    study: StudyResults, model_sha256: str, header_of: Callable[[Instance], ImageHeader]
) -> ReadImages:
    """Return the images that a report describes, with their headers.

    A damaged or missing file delays no other image.

    Raises StorageError if no file can be read now.
    """
    found: dict[int, ReportedImage] = {}
    unreadable: dict[int, Exception] = {}
    for item in described(study, model_sha256):
        try:
            found[item.id] = _reported(item, header_of(item))
        except SpoolUnavailableError:
            raise
        except _UNREADABLE as error:
            log.error("instance %d cannot be reported: %s", item.id, error)
            unreadable[item.id] = error
    return ReadImages(found, unreadable)


def report_content(
    study: StudyResults,
    images: ReadImages,
    algorithm: Algorithm,
    read: ReadFile,
    form: PictureForm = DEFAULT_FORM,
    priors: Sequence[PriorReport] = (),
) -> ReportContent:
    """Return the content of the report on every image of the study, with pictures of a form.

    `priors` are for a form that names them.

    At least one image must be described. The report lists a purged image and refers to the earlier
    reports that covered it. A purged report is not named as the predecessor, because its series
    is not known.

    The content date is that of the youngest analysis or rejection note, so that building the
    report again after a crash makes the same bytes.
    """
    analysed = [item for item in study.instances if item.id in images.described]
    skipped = [item for item in _reportable(study) if item not in analysed and not item.is_rejected]
    created = max(item.analysed_at or item.received_at for item in (*analysed, *_notes(study)))
    created = created.astimezone()
    sources = [
        _with_pictures(images.described[item.id], item, algorithm, form) for item in analysed
    ]
    latest = _latest(study, form)
    uid = report_uid_of(study, study.reports, algorithm.sha256, images.unreadable)
    return ReportContent(
        # Sorted, so that the same images make the same report in whatever order they arrived.
        sources=sorted(sources, key=_place),
        not_analysed=[
            _not_analysed(item, images.unreadable)
            for item in sorted(skipped, key=lambda item: item.sop_instance_uid)
        ],
        algorithm=algorithm,
        statements=_rejections(study),
        predecessor=_predecessor(latest, study.study_instance_uid, read),
        identity=Identity(
            sop_instance_uid=_uid_in_form(
                uid, form, _key_of(study), sources, latest, algorithm, priors
            ),
            series_instance_uid=series_uid(_key_of(study), algorithm.sha256, "report", form.name),
            series_number=SERIES_NUMBERS[ObjectKind.REPORT],
            instance_number=len(study.reports) + 1,
            content_datetime=created,
            timezone=created.tzinfo,
        ),
        priors=priors if form.has_priors else None,
    )


def _notes(study: StudyResults) -> list[Instance]:
    return [item for item in study.instances if item.reason == Reason.REJECTION_NOTE]


def _rejections(study: StudyResults) -> list[str]:
    """Return a sentence per rejection code on the films that the archive rejected."""
    rejected: dict[str, list[str]] = {}
    for item in study.instances:
        if item.is_rejected:
            rejected.setdefault(item.rejected_by or "", []).append(item.sop_instance_uid)
    return [
        f"{_counted(uids)} rejected in the archive ({code}, {rejection_meaning(code)}) and not "
        f"part of this report: {', '.join(sorted(uids)[:_FILMS_NAMED])}"
        f"{', ...' if len(uids) > _FILMS_NAMED else ''}."
        for code, uids in sorted(rejected.items())
    ]


def _counted(uids: Sequence[str]) -> str:
    return "1 image was" if len(uids) == 1 else f"{len(uids)} images were"


def built_report(content: ReportContent, form: PictureForm = DEFAULT_FORM) -> BuiltObject:
    """Build the Structured Report of a study (PS3.16 TID 1500), whose pictures have this form."""
    data = to_bytes(build_report(content))
    uid = content.identity.sop_instance_uid
    return BuiltObject(uid, REPORT_CLASS, ObjectKind.REPORT, None, data, form.name)


def _uid_in_form(
    uid: str,
    form: PictureForm,
    study: str,
    sources: Sequence[ReportedImage],
    latest: ObjectRecord | None,
    algorithm: Algorithm,
    priors: Sequence[PriorReport],
) -> str:
    """Return the UID of a report in a form; `uid` is that of the default form.

    Another form says the same of the same images. It names other pictures, where these were made,
    or earlier reports, and may follow another report.
    """
    if form == DEFAULT_FORM:
        return uid
    named = [
        finding.heatmap.sop_instance_uid
        for image in sources
        for finding in image.findings
        if finding.heatmap is not None
    ]
    named += [f"prior {prior.reference.sop_instance_uid}" for prior in priors]
    after = [f"after {latest.sop_instance_uid}"] if latest is not None else []
    return report_uid(study, [f"form of {uid}", *after, *named], algorithm.sha256, form.name)


def _latest(study: StudyResults, form: PictureForm) -> ObjectRecord | None:
    """Return the report that a report of this form follows: the last one that was in this form.

    If the last report was not made in this form, it is the last one in the default form, which a
    destination had before its form was configured.
    """
    in_form = [report for report in study.last_reports if report.form == form.name]
    return next(iter([*in_form, *study.last_reports]), None)


def _place(image: ReportedImage) -> tuple[float, float, str]:
    """Return the position of the image in its study."""
    header = image.header
    uid = image.reference().sop_instance_uid
    return header.series_order or 0.0, header.instance_order or 0.0, uid


def _with_pictures(
    image: ReportedImage, item: Instance, algorithm: Algorithm, form: PictureForm
) -> ReportedImage:
    """Return the image with references to the heatmaps that a destination of the form has."""
    kind = ObjectKind.HEATMAP_JPEG if form.is_lossy else ObjectKind.HEATMAP
    heatmaps = {
        record.label: ObjectReference(
            record.sop_class_uid,
            record.sop_instance_uid,
            series_uid(_key_of(item), algorithm.sha256, record.kind.value, record.form),
            item.study_instance_uid,
        )
        for record in of_kind(kind, form, item.objects)
    }
    findings = [replace(found, heatmap=heatmaps.get(found.label)) for found in image.findings]
    return replace(image, findings=findings)


def _reported(item: Instance, header: ImageHeader) -> ReportedImage:
    return ReportedImage(
        header=header,
        findings=[
            ReportedFinding(
                label=finding.label,
                probability=finding.probability,
                threshold=finding.threshold,
                present=finding.present,
                outline=finding.region,
            )
            for finding in item.findings
        ],
        notes=item.notes,
        revision=item.revision,
        film=film_key(item.source, item.sop_instance_uid, item.sha256),
    )


def _not_analysed(item: Instance, unreadable: Collection[int]) -> NotAnalysed:
    reason, detail = item.reason or "", item.detail or ""
    if item.id in unreadable:
        reason, detail = Reason.UNREADABLE_OBJECT, _UNREADABLE_DETAIL
    elif item.state is InstanceState.ANALYSED and item.purged_at is not None:
        reason, detail = PURGED, _PURGED_DETAIL
    elif item.state is InstanceState.ANALYSED:
        reason, detail = Reason.ANALYSIS_FAILED, _OUTDATED_DETAIL
    elif item.state is InstanceState.RECEIVED:
        reason, detail = NO_RESULT_YET, _WAITING_DETAIL
    return NotAnalysed(
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        series_instance_uid=item.series_instance_uid,
        reason=reason,
        detail=detail,
    )


def _predecessor(
    latest: ObjectRecord | None, study_instance_uid: str, read: ReadFile
) -> ObjectReference | None:
    if latest is None or latest.purged_at is not None:
        return None
    # An older model's reports are in another series, so the series is read from the object.
    try:
        header = read_header(read(latest.spool_path, latest.sha256))
    except SpoolUnavailableError:
        raise
    except _UNREADABLE as error:
        log.warning("a report does not name its predecessor: %s", error)
        return None
    return ObjectReference(
        latest.sop_class_uid,
        latest.sop_instance_uid,
        header.series_instance_uid,
        study_instance_uid,
    )
