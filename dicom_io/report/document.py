"""The report of a study: a Comprehensive 3D Structured Report (PS3.3 A.35.13).

This module builds the document around the content tree of `tree`. It reads no clock and no random
number: the same content gives the same bytes.
"""

from collections.abc import Iterable
from math import isfinite

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_io.errors import ObjectError
from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.codes import private_scheme_item
from dicom_io.objects.source_header import (
    Envelope,
    ObjectType,
    copy_decoded,
    reference_item,
    request_items,
    required_uid,
    start_object,
)
from dicom_io.read.header import text
from dicom_io.read.warnings_off import suppressed_warnings
from dicom_io.report.content import ObjectReference, ReportContent, ReportedFinding
from dicom_io.report.omissions import omissions
from dicom_io.report.tree import measurement_report

_KIND = ObjectType(Comprehensive3DSRStorage, "SR", "AI findings - research use only")

# Request attributes; the image itself may have one that RequestAttributesSequence lacks.
_REQUEST = (
    "StudyInstanceUID",
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
)


def build_report(content: ReportContent) -> Dataset:
    """Return the report as a dataset; `encode.to_bytes` makes the file.

    Raises ObjectError if there is no analysed image, an image has no finding, images belong to
    different studies, a source lacks an identifying UID, a label has no code, a probability is
    not a number from 0 to 1, or an outline has fewer than three corners.
    """
    _check(content)
    first = content.sources[0].header
    with suppressed_warnings():
        ds = start_object(Envelope(first, content.algorithm, content.identity), _KIND)
        ds.CodingSchemeIdentificationSequence = [private_scheme_item()]
        _add_document(ds, content)
        for element in measurement_report(content):
            ds.add(element)
    return ds


def _check(content: ReportContent) -> None:
    if not content.sources:
        raise ObjectError("a report needs at least one analysed image")
    studies = {required_uid(image.header, "StudyInstanceUID") for image in content.sources}
    if len(studies) > 1:
        raise ObjectError(f"a report covers one study, but its images belong to {len(studies)}")
    for image in content.sources:
        if not image.findings:
            uid = required_uid(image.header, "SOPInstanceUID")
            raise ObjectError(f"image {uid} is reported without any finding")
        for finding in image.findings:
            _check_finding(finding)


def _check_finding(finding: ReportedFinding) -> None:
    for name, value in (("probability", finding.probability), ("threshold", finding.threshold)):
        if not (isfinite(value) and 0.0 <= value <= 1.0):
            raise ObjectError(f"the {name} of {finding.label} is {value}, not from 0 to 1")
    if finding.outline is not None and len(finding.outline) < 3:
        raise ObjectError(
            f"the outline of {finding.label} has {len(finding.outline)} corners, not 3 or more"
        )


def _add_document(ds: Dataset, content: ReportContent) -> None:
    """Add SR Document Series and SR Document General (PS3.3 C.17.1, C.17.2)."""
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.AuthorObserverSequence = [_author(content.algorithm)]
    ds.CurrentRequestedProcedureEvidenceSequence = _by_study(_evidence(content))
    if content.priors:
        others = (prior.reference for prior in content.priors)
        ds.PertinentOtherEvidenceSequence = _by_study(others)
    if content.predecessor is not None:
        ds.PredecessorDocumentsSequence = _by_study([content.predecessor])
    source = content.sources[0].header.dataset
    requests = request_items(source)
    if requests:
        ds.ReferencedRequestSequence = [_request(item, source) for item in requests]


def _author(algorithm: Algorithm) -> Dataset:
    item = Dataset()
    item.ObserverType = "DEV"
    item.Manufacturer = algorithm.manufacturer_name
    item.ManufacturerModelName = algorithm.model_name
    item.DeviceUID = algorithm.device_uid
    item.StationName = None
    item.InstitutionName = None
    item.InstitutionCodeSequence = []
    return item


def _evidence(content: ReportContent) -> Iterable[ObjectReference]:
    """Yield the images, the objects not analysed that the report names, and the heatmaps."""
    study = required_uid(content.sources[0].header, "StudyInstanceUID")
    for image in content.sources:
        yield image.reference()
    for omission in omissions(content.not_analysed):
        for skipped in omission.named:
            yield ObjectReference(
                skipped.sop_class_uid,
                skipped.sop_instance_uid,
                skipped.series_instance_uid,
                study,
            )
    for image in content.sources:
        for finding in image.findings:
            if finding.heatmap is not None:
                yield finding.heatmap


def _by_study(references: Iterable[ObjectReference]) -> list[Dataset]:
    """Group references by study and series (Hierarchical SOP Instance Reference, C.17.2.1)."""
    studies: dict[str, dict[str, dict[str, str]]] = {}
    for reference in references:
        series = studies.setdefault(reference.study_instance_uid, {})
        instances = series.setdefault(reference.series_instance_uid, {})
        instances[reference.sop_instance_uid] = reference.sop_class_uid
    return [_study_item(study, series) for study, series in studies.items()]


def _study_item(study: str, all_series: dict[str, dict[str, str]]) -> Dataset:
    item = Dataset()
    item.ReferencedSeriesSequence = []
    item.StudyInstanceUID = study
    for series, instances in all_series.items():
        series_item = Dataset()
        series_item.ReferencedSOPSequence = [
            reference_item(sop_class_uid, sop_instance_uid)
            for sop_instance_uid, sop_class_uid in instances.items()
        ]
        series_item.SeriesInstanceUID = series
        item.ReferencedSeriesSequence.append(series_item)
    return item


def _request(attributes: Dataset, source: Dataset) -> Dataset:
    """Return an item of ReferencedRequestSequence with all type 2 attributes (PS3.3 C.17.2)."""
    item = Dataset()
    item.ReferencedStudySequence = []
    for keyword in _REQUEST:
        copy_decoded(attributes if text(attributes, keyword) else source, item, keyword)
    for keyword in ("RequestedProcedureDescription", "RequestedProcedureCodeSequence"):
        copy_decoded(attributes, item, keyword)
    return item
