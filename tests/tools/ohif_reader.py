"""Reading of a report as OHIF 3.13 does it, after its `getSopClassHandlerModule`.

OHIF turns a sequence of one item into that item. It fails on the report where this reader raises.
"""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


@dataclass(frozen=True)
class Drawn:
    """A group as OHIF draws it: its name, the film it lies on, the coordinates, the numbers."""

    name: str
    film: str
    coordinates: list[float]
    numbers: list[str]


def measurements(report: Dataset) -> list[Drawn]:
    """Return the groups that OHIF draws, in their order."""
    if _named(report, "") or report.ConceptNameCodeSequence[0].CodeValue != "126000":
        raise ValueError("OHIF opens only TID 1500 reports, and names every root item")
    [library] = _named(report, "111028")
    films = {
        entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for entry in _named(library, "126200")[0].ContentSequence
    }
    [container] = _named(report, "126010")
    groups = {_only(_named(group, "112040")).UID: group for group in _named(container, "125007")}
    drawn = [_drawn(group) for group in groups.values()]
    if not {group.film for group in drawn} <= films:
        raise ValueError("a group lies on a film that is not in the image library")
    return drawn


def _drawn(group: Dataset) -> Drawn:
    children = group.ContentSequence
    numbers = [item for item in children if item.ValueType == "NUM"]
    regions = [item for item in children if item.ValueType == "SCOORD"]
    if not regions:
        below = [item.get("ContentSequence") for item in numbers]
        regions = [_only(sequence) for sequence in below if sequence]
    # OHIF reads coords[0] without a check.
    region = regions[0]
    if region.RelationshipType not in ("INFERRED FROM", "CONTAINS"):
        raise ValueError(f"OHIF does not read a region that is {region.RelationshipType}")
    return Drawn(
        name=_only(_named(group, "112039")).TextValue,
        film=_only(_only(region.ContentSequence).ReferencedSOPSequence).ReferencedSOPInstanceUID,
        coordinates=list(region.GraphicData),
        numbers=[
            f"{item.ConceptNameCodeSequence[0].CodeMeaning} "
            f"{float(_only(item.MeasuredValueSequence).NumericValue):.2f}"
            for item in numbers
        ],
    )


def _only(items: Sequence | list[Dataset]) -> Dataset:
    [item] = items
    return item


def _named(parent: Dataset, code_value: str) -> list[Dataset]:
    """Return the children with this concept name; with '' the children without a name."""
    return [
        item
        for item in parent.ContentSequence
        if (item.get("ConceptNameCodeSequence") or [Dataset()])[0].get("CodeValue", "")
        == code_value
    ]
