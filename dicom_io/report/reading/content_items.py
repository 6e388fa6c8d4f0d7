"""Content items of a report by their concept names (PS3.3 C.17.3)."""

from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_io.errors import ObjectError
from dicom_io.objects.codes import FINDINGS, PREVIOUS_FINDINGS

# Code values of concept names, all of scheme DCM except FINDING_SITE, which is of SCT.
MEASUREMENTS = "126010"
FINDING = "121071"
SOURCE = "121112"
TRACKING_IDENTIFIER = "112039"
TRACKING_UID = "112040"
FINDING_SITE = "363698007"
IMAGE_REGION = "111030"
PROCEDURE_REPORTED = "121058"


class ReportTree:
    """The parts of the content tree of a report, in their order.

    `conclusion` holds the items before the first section of an image, `sections` those sections,
    `previous` the earlier reports, `explanations` the items behind the sections, and `groups` the
    measurement groups, one per finding.
    Raises ObjectError if the object is not a measurement report.
    """

    def __init__(self, ds: Dataset) -> None:
        root = list(ds.get("ContentSequence") or ())
        measurements = named(root, MEASUREMENTS)
        sections = named(root, FINDINGS.value)
        if not measurements or not sections:
            raise ObjectError("this object is not a measurement report (TID 1500)")
        middle = root.index(sections[0])
        self.root: Sequence[Dataset] = root
        self.conclusion: Sequence[Dataset] = root[:middle]
        self.sections: Sequence[Dataset] = sections
        self.previous: Sequence[Dataset] = named(root, PREVIOUS_FINDINGS.value)
        self.explanations: Sequence[Dataset] = root[middle:]
        self.groups: Sequence[Dataset] = list(measurements[0].ContentSequence)


def named(items: Iterable[Dataset], code_value: str) -> list[Dataset]:
    """Return the content items whose concept name has this code value."""
    return [
        item
        for item in items
        if "ConceptNameCodeSequence" in item
        and item.ConceptNameCodeSequence[0].CodeValue == code_value
    ]


def texts(items: Iterable[Dataset]) -> Iterator[str]:
    """Yield the texts that the items contain, without those of the observation context."""
    for item in items:
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS":
            yield str(item.TextValue)


def number(items: Iterable[Dataset], code_value: str) -> float:
    """Return the value of the first NUM item with this concept name."""
    return float(named(items, code_value)[0].MeasuredValueSequence[0].NumericValue)
