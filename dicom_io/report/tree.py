"""Content tree of a report: TID 1500 Measurement Report (PS3.16).

highdicom builds the tree. The image library and the sentences of `prose` are added as items at the
root, which TID 1500 allows as an extensible template.
"""

from collections.abc import Iterable, Iterator, Sequence

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

from dicom_io.objects.algorithm import Algorithm, long_string
from dicom_io.objects.codes import CHEST_RADIOGRAPHY
from dicom_io.objects.uids import device_uid
from dicom_io.read.header import items, text
from dicom_io.report.content import NotAnalysed, ReportedImage
from dicom_io.report.image_library import image_library
from dicom_io.report.measurements import measurement_group
from dicom_io.report.prose import omissions, sections, summary

_MEANING_LENGTH = 64


def measurement_report(
    images: Sequence[ReportedImage], not_analysed: Sequence[NotAnalysed], algorithm: Algorithm
) -> Iterator[DataElement]:
    """Return the elements of the root content item: SR Document Content (PS3.3 C.17.3)."""
    groups = [
        measurement_group(finding, image, number, algorithm)
        for number, image in enumerate(images, 1)
        # Viewers open with the first group, so findings that are present come first.
        for finding in sorted(image.findings, key=lambda finding: not finding.present)
    ]
    tree = MeasurementReport(
        observation_context=_observation_context(algorithm),
        procedure_reported=_procedures(image.header.dataset for image in images),
        imaging_measurements=groups,
    )
    root = tree[0]
    # The measurements come last, so that the reader sees the summary before the numbers.
    measurements = root.ContentSequence.pop()
    for item in (
        *summary(images, not_analysed, algorithm),
        *sections(images),
        *omissions(not_analysed),
        image_library(images),
        measurements,
    ):
        root.ContentSequence.append(item)
    return iter(root)


def _observation_context(algorithm: Algorithm) -> ObservationContext:
    """Return TID 1001 with a device as the observer (TID 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(algorithm.sha256),
        name=long_string(algorithm.name),
        manufacturer_name=long_string(algorithm.manufacturer),
        model_name=long_string(f"{algorithm.name} {algorithm.version}"),
        serial_number=algorithm.sha256,
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
