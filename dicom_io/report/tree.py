"""Content tree of a report: TID 1500 Measurement Report (PS3.16).

highdicom builds the tree. The image library and the sentences of `prose` are added as items at the
root, which TID 1500 allows as an extensible template.
"""

from collections.abc import Iterable, Iterator

from highdicom.sr import (
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.codes import CHEST_RADIOGRAPHY
from dicom_io.read.header import items, text
from dicom_io.report.content import ReportContent
from dicom_io.report.image_library import image_library
from dicom_io.report.measurements import measurement_group
from dicom_io.report.prose import (
    by_rank,
    conclusion,
    explanations,
    previous_findings,
    sections,
)

_MEANING_LENGTH = 64


def measurement_report(content: ReportContent) -> Iterator[DataElement]:
    """Return the elements of the root content item: SR Document Content (PS3.3 C.17.3)."""
    groups = [
        measurement_group(finding, image, number, content.algorithm)
        for number, image in enumerate(content.sources, 1)
        # Viewers open with the first group, so findings that are present come first.
        for finding in by_rank(image.findings)
    ]
    tree = MeasurementReport(
        observation_context=_observation_context(content.algorithm),
        procedure_reported=_procedures(image.header.dataset for image in content.sources),
        imaging_measurements=groups,
    )
    root = tree[0]
    # The measurements come last, so that the reader sees the conclusion before the numbers.
    measurements = root.ContentSequence.pop()
    for item in (
        *conclusion(content),
        *sections(content),
        *previous_findings(content),
        *explanations(content),
        image_library(content.sources),
        measurements,
    ):
        root.ContentSequence.append(item)
    _render_separately(root)
    return iter(root)


def _render_separately(container: Dataset) -> None:
    """Mark the containers as lists of items, not as running text (PS3.3 C.18.8).

    A reader of running text sees the values of a group without their names.
    """
    if container.ValueType == "CONTAINER":
        container.ContinuityOfContent = "SEPARATE"
    for item in container.get("ContentSequence", ()):
        _render_separately(item)


def _observation_context(algorithm: Algorithm) -> ObservationContext:
    """Return TID 1001 with a device as the observer (TID 1004): the equipment of the report."""
    device = DeviceObserverIdentifyingAttributes(
        uid=algorithm.device_uid,
        name=algorithm.model_name,
        manufacturer_name=algorithm.manufacturer_name,
        model_name=algorithm.model_name,
        serial_number=algorithm.serial_number,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _procedures(headers: Iterable[Dataset]) -> list[CodedConcept]:
    """Return the procedures that the sources name; a plain chest X-ray if they name none."""
    found: dict[tuple[str, str], CodedConcept] = {}
    for header in headers:
        for item in items(header, "ProcedureCodeSequence"):
            value, scheme = text(item, "CodeValue"), text(item, "CodingSchemeDesignator")
            meaning = text(item, "CodeMeaning")[:_MEANING_LENGTH]
            if value and scheme and meaning:
                version = text(item, "CodingSchemeVersion") or None
                found[value, scheme] = CodedConcept(value, scheme, meaning, version)
    return list(found.values()) or [CodedConcept.from_code(CHEST_RADIOGRAPHY.code)]
