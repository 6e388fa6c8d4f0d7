"""Check of AI results against the requirements of IHE AIR Rev. 1.3 that docs/report.md lists.

    python tests/tools/air_check.py REPORT.dcm [OTHER.dcm ...]

The other files are the Secondary Captures, presentation states and segmentations made with the
report. The check reads files with pydicom and uses no code of the product. It prints a line per
requirement, with the faults below it, and ends with 1 if a requirement is not met.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STRUCTURED_REPORTS = "1.2.840.10008.5.1.4.1.1.88."

PROCESSING_EQUIPMENT = ("109102", "DCM")
VISUAL_EXPLANATION = ("130401", "DCM")
KINDS_OF_EXPLANATION = {("130402", "DCM"), ("130403", "DCM"), ("130404", "DCM")}
FINDING = ("121071", "DCM")
TRACKING_IDENTIFIER = ("112039", "DCM")
TRACKING_UID = ("112040", "DCM")
ALGORITHM_VERSION = ("111003", "DCM")
PRESENT = ("52101004", "SCT")
SOURCE_OF_MEASUREMENT = ("121112", "DCM")

# TEXT and CODE children of a measurement group that TID 1411, 1410, 1501 and 4019 define.
MODIFIERS = {
    TRACKING_IDENTIFIER,
    FINDING,
    ALGORITHM_VERSION,
    ("111001", "DCM"),  # Algorithm Name
    ("111002", "DCM"),  # Algorithm Parameters
    ("111000", "DCM"),  # Algorithm Family
    ("122405", "DCM"),  # Algorithm Manufacturer
    ("276214006", "SCT"),  # Finding category
    ("363698007", "SCT"),  # Finding Site
    ("272741003", "SCT"),  # Laterality
    ("370129005", "SCT"),  # Measurement Method
    ("C2348792", "UMLS"),  # Time Point
    ("126072", "DCM"),  # Time Point Type
}


@dataclass(frozen=True)
class Requirement:
    """One requirement: its number and text in docs/report.md, and the faults found."""

    number: int
    text: str
    faults: tuple[str, ...]

    @property
    def is_met(self) -> bool:
        """Whether no fault was found."""
        return not self.faults


def check(report: Dataset, others: Sequence[Dataset] = ()) -> list[Requirement]:
    """Return the requirements 1 to 8, checked on a report and the objects made with it."""
    checks: Sequence[tuple[str, Callable[[Dataset, Sequence[Dataset]], Iterator[str]]]] = (
        ("contributing equipment 109102 with its four attributes", _equipment),
        ("121012, 121014, 121015 and 111003 equal the equipment", _observer),
        ("Comprehensive 3D SR with TID 1500 as its root", _class_and_root),
        ("Procedure Reported", _procedure),
        ("visual explanation in the finding's group as 130401", _explanations),
        ("no TEXT or CODE of a group beside modifiers and the evaluation", _evaluations),
        ("regions with tracking identifiers", _tracking),
        ("Secondary Captures and presentation states only in addition", _additions),
    )
    return [
        Requirement(number, text, tuple(find(report, others)))
        for number, (text, find) in enumerate(checks, 1)
    ]


def _equipment(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    for ds in (report, *others):
        name = f"{ds.SOPClassUID.name} {ds.SOPInstanceUID}"
        item = _processing_equipment(ds)
        if item is None:
            yield f"{name}: no contributing equipment with purpose 109102"
            continue
        for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID"):
            value = str(item.get(keyword) or "")
            if not value or len(value) > 64:
                yield f"{name}: {keyword} of the equipment is {value!r}"


def _processing_equipment(ds: Dataset) -> Dataset | None:
    item: Dataset
    for item in ds.get("ContributingEquipmentSequence") or ():
        purposes = item.get("PurposeOfReferenceCodeSequence") or ()
        if PROCESSING_EQUIPMENT in [_code(purpose) for purpose in purposes]:
            return item
    return None


def _observer(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    equipment = _processing_equipment(report)
    if equipment is None:
        yield "no equipment to compare with"
        return
    root = _children(report)
    for code, keyword in (
        ("121012", "DeviceUID"),
        ("121014", "Manufacturer"),
        ("121015", "ManufacturerModelName"),
    ):
        said = [_value(item) for item in root if _name(item) == (code, "DCM")]
        if said != [str(equipment.get(keyword))]:
            yield f"{code} is {said}, {keyword} is {equipment.get(keyword)!r}"
    versions = [_value(item) for item in _walk(report) if _name(item) == ALGORITHM_VERSION]
    if not versions:
        yield "no item 111003"
    for version in sorted(set(versions) - {str(equipment.get("SoftwareVersions"))}):
        yield f"111003 is {version!r}, SoftwareVersions is {equipment.get('SoftwareVersions')!r}"
    for group in _groups(report):
        if not any(_name(item) == ALGORITHM_VERSION for item in _children(group)):
            yield f"{_label(group)}: no item 111003"
    for other in others:
        item = _processing_equipment(other)
        if item is not None and _identity(item) != _identity(equipment):
            yield f"{other.SOPInstanceUID}: another equipment than that of the report"


def _identity(equipment: Dataset) -> tuple[str, ...]:
    keywords = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID")
    return tuple(str(equipment.get(keyword)) for keyword in keywords)


def _class_and_root(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    if report.SOPClassUID != COMPREHENSIVE_3D_SR:
        yield f"the class is {report.SOPClassUID.name}"
    templates = [
        (item.get("MappingResource"), item.get("TemplateIdentifier"))
        for item in report.get("ContentTemplateSequence") or ()
    ]
    if templates != [("DCMR", "1500")]:
        yield f"the root template is {templates}"
    if report.get("ValueType") != "CONTAINER" or _name(report) != ("126000", "DCM"):
        yield f"the root is {report.get('ValueType')} {_name(report)}"


def _procedure(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    said = [item for item in _children(report) if _name(item) == ("121058", "DCM")]
    if not said:
        yield "no item 121058 at the root"
    for item in said:
        if item.ValueType != "CODE" or item.RelationshipType != "HAS CONCEPT MOD":
            yield f"121058 is {item.ValueType}, {item.RelationshipType}"
        elif not all(_code(code)[0] for code in item.ConceptCodeSequence):
            yield "121058 names no procedure"


def _explanations(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    referenced = Counter[str]()
    for group in _groups(report):
        for item in _children(group):
            if _name(item) in KINDS_OF_EXPLANATION:
                yield f"{_label(group)}: {_name(item)[0]} instead of 130401"
            if item.ValueType != "IMAGE":
                continue
            [image] = item.ReferencedSOPSequence
            if _name(item) == VISUAL_EXPLANATION:
                referenced[str(image.ReferencedSOPInstanceUID)] += 1
            elif _name(item) != SOURCE_OF_MEASUREMENT:
                yield f"{_label(group)}: an image as {_name(item)}"
    for uid, count in referenced.items():
        if count > 1:
            yield f"{uid} explains {count} findings"
        if uid not in _evidence(report):
            yield f"{uid} is not in the evidence"
    for group in _groups(report) if referenced else ():
        names = {_name(item) for item in _children(group)}
        if _is_present(group) and VISUAL_EXPLANATION not in names:
            yield f"{_label(group)}: present, without a visual explanation"
    heatmaps = [other for other in others if other.SOPInstanceUID in referenced]
    for heatmap in heatmaps:
        kinds = {_code(item) for item in heatmap.get("DerivationCodeSequence") or ()}
        if not kinds & KINDS_OF_EXPLANATION:
            yield f"{heatmap.SOPInstanceUID}: its derivation names no kind of explanation"
    if any(_is_picture(other) for other in others) and not heatmaps:
        yield "no group refers to one of the pictures"


def _evaluations(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    for group in _groups(report):
        findings = [
            _code(item.ConceptCodeSequence[0])
            for item in _children(group)
            if _name(item) == FINDING
        ]
        evaluations = 0
        for item in _children(group):
            if item.ValueType not in ("TEXT", "CODE") or _name(item) in MODIFIERS:
                continue
            if item.ValueType == "CODE" and _name(item) in findings:
                evaluations += 1
            else:
                meaning = item.ConceptNameCodeSequence[0].CodeMeaning
                yield f"{_label(group)}: {item.ValueType} {meaning!r} reads as an evaluation"
        if len(findings) != 1 or evaluations != 1:
            yield f"{_label(group)}: {len(findings)} findings, {evaluations} evaluations"


def _tracking(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    uids = Counter[str]()
    for group in _groups(report):
        children = _children(group)
        said = [_value(item) for item in children if _name(item) == TRACKING_IDENTIFIER]
        uid = [_value(item) for item in children if _name(item) == TRACKING_UID]
        uids.update(uid)
        if len(said) != 1 or len(uid) != 1 or not said[0] or not uid[0]:
            yield f"{_label(group)}: tracking identifiers {said}, UIDs {uid}"
    yield from (f"{uid} tracks {count} groups" for uid, count in uids.items() if count > 1)
    loose = [item for item in _walk(report, beside_groups=True) if "SCOORD" in item.ValueType]
    if loose:
        yield f"{len(loose)} regions outside of a group"


def _additions(report: Dataset, others: Sequence[Dataset]) -> Iterator[str]:
    for group in _groups(report):
        kinds = Counter(item.ValueType for item in _children(group))
        if not kinds["NUM"] or not kinds["CODE"]:
            yield f"{_label(group)}: no number or no code, only {dict(kinds)}"
    if not any(True for _ in _groups(report)):
        yield "no group: the results stand only in pictures"
    for other in others:
        if other.StudyInstanceUID != report.StudyInstanceUID:
            yield f"{other.SOPInstanceUID} is in another study than the report"


def _is_present(group: Dataset) -> bool:
    return any(
        _code(item.ConceptCodeSequence[0]) == PRESENT
        for item in _children(group)
        if item.ValueType == "CODE"
    )


def _is_picture(ds: Dataset) -> bool:
    return bool(ds.SOPClassUID == SECONDARY_CAPTURE)


def _evidence(report: Dataset) -> set[str]:
    return {
        str(sop.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }


def _groups(report: Dataset) -> Iterator[Dataset]:
    for item in _children(report):
        if _name(item) == ("126010", "DCM"):
            yield from (child for child in _children(item) if _name(child) == ("125007", "DCM"))


def _walk(parent: Dataset, beside_groups: bool = False) -> Iterator[Dataset]:
    for item in _children(parent):
        if beside_groups and _name(item) == ("125007", "DCM"):
            continue
        yield item
        yield from _walk(item, beside_groups)


def _children(parent: Dataset) -> list[Dataset]:
    return list(parent.get("ContentSequence") or ())


def _label(group: Dataset) -> str:
    said = [_value(item) for item in _children(group) if _name(item) == TRACKING_IDENTIFIER]
    return f"group {said[0]!r}" if said else "a group"


def _name(item: Dataset) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence") or ()
    return _code(names[0]) if names else ("", "")


def _code(item: Dataset) -> tuple[str, str]:
    return str(item.get("CodeValue") or ""), str(item.get("CodingSchemeDesignator") or "")


def _value(item: Dataset) -> str:
    return str(item.get("TextValue") or item.get("UID") or "")


def main(paths: Sequence[str]) -> int:
    """Print the result for each report among the files; return 1 if a requirement is not met."""
    objects = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    reports = [ds for ds in objects if ds.SOPClassUID.startswith(STRUCTURED_REPORTS)]
    if not reports:
        sys.exit(f"no Structured Report among {len(paths)} files; usage:{__doc__}")
    met = True
    for report in reports:
        others = [
            ds
            for ds in objects
            if ds not in reports and ds.StudyInstanceUID == report.StudyInstanceUID
        ]
        sys.stdout.write(f"{report.SOPInstanceUID} and {len(others)} objects of its study\n")
        for requirement in check(report, others):
            met &= requirement.is_met
            verdict = "met    " if requirement.is_met else "NOT MET"
            sys.stdout.write(f"  {requirement.number} {verdict} {requirement.text}\n")
            for fault in requirement.faults:
                sys.stdout.write(f"      {fault}\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
