"""Read a report of this software from its bytes, in any of its SOP classes.

Messages in other standards are made from the report that was sent, so that both say the same.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_io.errors import NotDicomError, ObjectError
from dicom_io.objects.codes import (
    COMMENT,
    FINDING_CODES,
    PRESENT,
    PRIOR_REPORT,
    PROBABILITY,
    STUDY_DATE,
    SUMMARY,
    THRESHOLD,
    VISUAL_EXPLANATION,
)
from dicom_io.read.bounded_parser import PARSER_ERRORS
from dicom_io.read.header import items, read_dataset, text
from dicom_io.read.warnings_off import suppressed_warnings
from dicom_io.report.content import ObjectReference, PriorReport
from dicom_io.report.reading.content_items import (
    FINDING,
    FINDING_SITE,
    IMAGE_REGION,
    PROCEDURE_REPORTED,
    SOURCE,
    TRACKING_IDENTIFIER,
    TRACKING_UID,
    ReportTree,
    named,
    number,
    texts,
)
from dicom_io.report.reading.read_values import (
    CodedValue,
    ReadAlgorithm,
    ReadDocument,
    ReadFinding,
    ReadImage,
    ReadOmission,
    ReadOrder,
    ReadPatient,
    ReadReport,
    ReadStudy,
)

_LABELS = {(one.concept.value, one.concept.scheme): label for label, one in FINDING_CODES.items()}
_OMISSION = re.compile(r"Not analysed: (?P<subject>.*?): (?P<reason>[A-Z][A-Z0-9_]+): ")
_UID = re.compile(r"\d[\d.]*\.\d+")
_INTENDED_USE, _CALIBRATION = "Intended use: ", "Calibration: "

_References = Mapping[str, ObjectReference]


def read_report(data: bytes) -> ReadReport:
    """Return the content of a report.

    Raises ObjectError if the bytes are not a report of this software, or a damaged one.
    """
    try:
        with suppressed_warnings():
            return _report(read_dataset(data))
    except NotDicomError as error:
        raise ObjectError(f"the report cannot be read: {error}") from error
    except PARSER_ERRORS as error:
        raise ObjectError("the report cannot be read: a content item lacks a part") from error


def _report(ds: Dataset) -> ReadReport:
    tree = ReportTree(ds)
    references = {
        reference.sop_instance_uid: reference
        for reference in _hierarchy(ds, "CurrentRequestedProcedureEvidenceSequence")
    }
    comments = tuple(texts(named(tree.conclusion, COMMENT.value)))
    lines = [line for line in comments[1:] if _OMISSION.match(line)]
    explanations = tuple(texts(tree.explanations))
    return ReadReport(
        patient=_patient(ds),
        study=_study(ds),
        orders=tuple(_order(item) for item in items(ds, "ReferencedRequestSequence")),
        document=_document(ds),
        algorithm=_algorithm(ds, explanations),
        procedures=tuple(_value(item) for item in named(tree.root, PROCEDURE_REPORTED)),
        images=_images(tree, references),
        not_analysed=tuple(_omission(line, references) for line in lines),
        research_notice=comments[0],
        summary=" ".join(texts(named(tree.conclusion, SUMMARY.value))),
        statements=tuple(line for line in comments[1:] if line not in lines),
        explanations=explanations,
        priors=tuple(_priors(ds, tree)),
    )


def _patient(ds: Dataset) -> ReadPatient:
    return ReadPatient(
        patient_id=text(ds, "PatientID"),
        issuer=text(ds, "IssuerOfPatientID"),
        name=text(ds, "PatientName"),
        birth_date=text(ds, "PatientBirthDate"),
        sex=text(ds, "PatientSex"),
    )


def _study(ds: Dataset) -> ReadStudy:
    return ReadStudy(
        study_instance_uid=text(ds, "StudyInstanceUID"),
        study_id=text(ds, "StudyID"),
        date=text(ds, "StudyDate"),
        time=text(ds, "StudyTime"),
        description=text(ds, "StudyDescription"),
        accession_number=text(ds, "AccessionNumber"),
        accession_issuer=_issuer(ds),
        referring_physician=text(ds, "ReferringPhysicianName"),
    )


def _issuer(ds: Dataset) -> str:
    """Return the issuer of the accession number (HL7v2 Hierarchic Designator, PS3.3 10.14)."""
    for item in items(ds, "IssuerOfAccessionNumberSequence"):
        return text(item, "LocalNamespaceEntityID") or text(item, "UniversalEntityID")
    return ""


def _order(item: Dataset) -> ReadOrder:
    procedures = items(item, "RequestedProcedureCodeSequence")
    return ReadOrder(
        accession_number=text(item, "AccessionNumber"),
        accession_issuer=_issuer(item),
        placer_order_number=text(item, "PlacerOrderNumberImagingServiceRequest"),
        filler_order_number=text(item, "FillerOrderNumberImagingServiceRequest"),
        requested_procedure_id=text(item, "RequestedProcedureID"),
        description=text(item, "RequestedProcedureDescription"),
        procedure=_coded(procedures[0]) if procedures else None,
    )


def _document(ds: Dataset) -> ReadDocument:
    moment = f"{text(ds, 'ContentDate')}T{text(ds, 'ContentTime')[:6]}"
    return ReadDocument(
        sop_class_uid=text(ds, "SOPClassUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        title=text(ds, "SeriesDescription"),
        written=datetime.fromisoformat(moment + text(ds, "TimezoneOffsetFromUTC")),
        completion=text(ds, "CompletionFlag"),
        verification=text(ds, "VerificationFlag"),
        preliminary=text(ds, "PreliminaryFlag"),
        predecessors=tuple(_hierarchy(ds, "PredecessorDocumentsSequence")),
    )


def _algorithm(ds: Dataset, explanations: Sequence[str]) -> ReadAlgorithm:
    return ReadAlgorithm(
        name=text(ds, "ManufacturerModelName"),
        version=text(ds, "SoftwareVersions"),
        manufacturer=text(ds, "Manufacturer"),
        sha256=text(ds, "DeviceSerialNumber"),
        device_uid=text(ds.ContributingEquipmentSequence[0], "DeviceUID"),
        intended_use=_line(explanations, _INTENDED_USE),
        calibration=_line(explanations, _CALIBRATION),
    )


def _line(lines: Sequence[str], start: str) -> str:
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")


def _images(tree: ReportTree, references: _References) -> tuple[ReadImage, ...]:
    found: dict[str, list[ReadFinding]] = {}
    for group in tree.groups:
        finding = _finding(list(group.ContentSequence), references)
        found.setdefault(finding.image.sop_instance_uid, []).append(finding)
    return tuple(
        ReadImage(
            reference=references[uid],
            findings=tuple(findings),
            sentences=tuple(texts(named(section.ContentSequence, SUMMARY.value))),
            notes=tuple(texts(named(section.ContentSequence, COMMENT.value))),
        )
        for section, (uid, findings) in zip(tree.sections, found.items(), strict=True)
    )


def _finding(group: Sequence[Dataset], references: _References) -> ReadFinding:
    code = _value(named(group, FINDING)[0])
    result = _value(named(group, code.value)[0])
    return ReadFinding(
        label=_LABELS.get((code.value, code.scheme), ""),
        code=code,
        site=_value(named(group, FINDING_SITE)[0]),
        result=result,
        present=(result.value, result.scheme) == (PRESENT.value, PRESENT.scheme),
        probability=number(group, PROBABILITY.value),
        threshold=number(group, THRESHOLD.value),
        tracking_uid=text(named(group, TRACKING_UID)[0], "UID"),
        tracking_identifier=text(named(group, TRACKING_IDENTIFIER)[0], "TextValue"),
        image=references[_named_object(named(group, SOURCE)[0])],
        outline=_outline(named(group, IMAGE_REGION)),
        heatmap=_heatmap(named(group, VISUAL_EXPLANATION.value), references),
    )


def _outline(regions: Sequence[Dataset]) -> tuple[tuple[float, float], ...] | None:
    """Return the corners of a closed POLYLINE, whose last corner repeats the first."""
    if not regions:
        return None
    values = [float(value) for value in regions[0].GraphicData]
    return tuple(zip(values[:-2:2], values[1:-2:2], strict=True))


def _heatmap(explanations: Sequence[Dataset], references: _References) -> ObjectReference | None:
    return references[_named_object(explanations[0])] if explanations else None


def _named_object(item: Dataset) -> str:
    return text(item.ReferencedSOPSequence[0], "ReferencedSOPInstanceUID")


def _value(item: Dataset) -> CodedValue:
    return _coded(item.ConceptCodeSequence[0])


def _coded(item: Dataset) -> CodedValue:
    return CodedValue(
        text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")
    )


def _omission(line: str, references: _References) -> ReadOmission:
    match = _OMISSION.match(line)
    subject, reason = (match["subject"], match["reason"]) if match is not None else ("", "")
    objects = (references[uid] for uid in _UID.findall(subject) if uid in references)
    return ReadOmission(line, reason, tuple(objects))


def _priors(ds: Dataset, tree: ReportTree) -> Iterable[PriorReport]:
    references = {
        reference.sop_instance_uid: reference
        for reference in _hierarchy(ds, "PertinentOtherEvidenceSequence")
    }
    for container in tree.previous:
        group = list(container.ContentSequence)
        for item in named(group, PRIOR_REPORT.value):
            dates = named(group, STUDY_DATE.value)
            yield PriorReport(
                reference=references[_named_object(item)],
                study_date=text(dates[0], "Date") if dates else "",
                said=" ".join(texts(group)),
            )


def _hierarchy(ds: Dataset, keyword: str) -> Iterable[ObjectReference]:
    """Yield the objects of a hierarchical reference (PS3.3 C.17.2.1)."""
    for study in ds.get(keyword) or ():
        for series in study.ReferencedSeriesSequence:
            for one in series.ReferencedSOPSequence:
                yield ObjectReference(
                    text(one, "ReferencedSOPClassUID"),
                    text(one, "ReferencedSOPInstanceUID"),
                    text(series, "SeriesInstanceUID"),
                    text(study, "StudyInstanceUID"),
                )
