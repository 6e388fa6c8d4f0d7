"""Codes of the objects, each with the source that confirms it.

`Origin.DICOM` codes are in the DICOM code dictionary that pydicom ships; a test looks each up.
`Origin.PUBLISHED` codes are not in that dictionary; `provenance` names their public source.
`Origin.PRIVATE` codes belong to the scheme `99CXRD`: no public code could be verified for them.

Do not use pydicom's `codes.SCT.Cardiomegaly`. Its value is 287272002, which the same dictionary
also names "Enlarged septal foramen of heart".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io.errors import ObjectError
from dicom_io.objects.uids import derived_uid

PRIVATE_SCHEME = "99CXRD"
PRIVATE_SCHEME_UID = derived_uid(PRIVATE_SCHEME, "", "coding-scheme")


class Origin(Enum):
    """Kind of source that confirms a code."""

    DICOM = "in the DICOM code dictionary"
    PUBLISHED = "in another public source"
    PRIVATE = "defined by this project"


@dataclass(frozen=True, slots=True)
class Concept:
    """A coded concept: value, coding scheme designator and meaning (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str
    origin: Origin = Origin.DICOM
    provenance: str = "pydicom DICOM code dictionary"

    @property
    def code(self) -> Code:
        """Return the concept in the form that pydicom and highdicom take."""
        return Code(self.value, self.scheme, self.meaning)

    def item(self) -> Dataset:
        """Return the concept as an item of a code sequence."""
        item = Dataset()
        item.CodeValue = self.value
        item.CodingSchemeDesignator = self.scheme
        item.CodeMeaning = self.meaning
        return item


@dataclass(frozen=True, slots=True)
class FindingCode:
    """Codes of one of the 14 labels of NIH ChestX-ray14: the finding and its body site."""

    label: str
    concept: Concept
    site: Concept


def _published(value: str, meaning: str, provenance: str) -> Concept:
    return Concept(value, "SCT", meaning, Origin.PUBLISHED, provenance)


LUNG = Concept("39607008", "SCT", "Lung")
HEART = Concept("80891009", "SCT", "Heart")
PLEURA = Concept("3120008", "SCT", "Pleura")
DIAPHRAGM = Concept("5798000", "SCT", "Diaphragm")

PRESENT = Concept("52101004", "SCT", "Present")
ABSENT = Concept("272519000", "SCT", "Absent")
PROBABILITY = Concept("122157", "DCM", "Probability")
THRESHOLD = Concept("122411", "DCM", "Threshold Value")
NO_UNITS = Concept("1", "UCUM", "no units")
VISUAL_EXPLANATION = Concept("130401", "DCM", "Visual explanation")
GRAD_CAM = Concept("130403", "DCM", "Gradient-weighted class activation")
COMMENT = Concept("121106", "DCM", "Comment")
SUMMARY = Concept("121111", "DCM", "Summary")
FINDINGS = Concept("121070", "DCM", "Findings")
PREVIOUS_FINDINGS = Concept("121068", "DCM", "Previous Findings")
PRIOR_REPORT = Concept("122075", "DCM", "Prior report for current patient")
STUDY_DATE = Concept("111060", "DCM", "Study Date")
OPERATING_POINT = Concept("111081", "DCM", "CAD Operating Point Description")
SOURCE_IMAGE = Concept("121322", "DCM", "Source image for image processing operation")
UNCOMPRESSED_PREDECESSOR = Concept("121320", "DCM", "Uncompressed predecessor")
LOSSY_COMPRESSION = Concept("113040", "DCM", "Lossy Compression")
ARTIFICIAL_INTELLIGENCE = Concept("123110", "DCM", "Artificial Intelligence")
ABNORMAL_STRUCTURE = Concept("49755003", "SCT", "Morphologically Abnormal Structure")
PROCESSING_EQUIPMENT = Concept("109102", "DCM", "Processing Equipment")
CHEST_RADIOGRAPHY = _published(
    "399208008", "Plain chest X-ray", "SNOMED CT procedure in public FHIR examples"
)

_FINDINGS = (
    FindingCode(
        "Atelectasis",
        # The dictionary has only 40779009, plate-like atelectasis, narrower than the label.
        _published("46621007", "Atelectasis", "MedDRA/CTCAE to SNOMED CT concept map"),
        LUNG,
    ),
    FindingCode(
        "Cardiomegaly",
        _published("8186001", "Cardiomegaly", "several public SNOMED CT mappings"),
        HEART,
    ),
    FindingCode("Effusion", Concept("60046008", "SCT", "Pleural effusion"), PLEURA),
    FindingCode("Infiltration", Concept("112121", "DCM", "Infiltrate"), LUNG),
    FindingCode("Mass", Concept("4147007", "SCT", "Mass"), LUNG),
    FindingCode("Nodule", Concept("27925004", "SCT", "Nodule"), LUNG),
    FindingCode(
        "Pneumonia",
        _published("233604007", "Pneumonia", "OMOP vocabulary and UMLS C0032285"),
        LUNG,
    ),
    FindingCode("Pneumothorax", Concept("36118008", "SCT", "Pneumothorax"), PLEURA),
    FindingCode(
        "Consolidation",
        _published("95436008", "Lung consolidation", "OMOP vocabulary"),
        LUNG,
    ),
    FindingCode("Edema", Concept("19242006", "SCT", "Pulmonary edema"), LUNG),
    FindingCode(
        "Emphysema",
        _published("87433001", "Pulmonary emphysema", "HL7 FHIR examples"),
        LUNG,
    ),
    FindingCode(
        "Fibrosis",
        # 112674009 of the dictionary is fibrosis of any organ.
        _published("51615001", "Fibrosis of lung", "MedDRA 10037383 to SNOMED CT concept map"),
        LUNG,
    ),
    FindingCode(
        "Pleural_Thickening",
        Concept(
            "PLEURALTHICKEN",
            PRIVATE_SCHEME,
            "Pleural thickening",
            Origin.PRIVATE,
            "no public code could be verified",
        ),
        PLEURA,
    ),
    FindingCode(
        "Hernia",
        # The label means a hiatal hernia on most films; no source says that it always does.
        _published("84089009", "Hiatal hernia", "several public SNOMED CT mappings"),
        DIAPHRAGM,
    ),
)

FINDING_CODES: Mapping[str, FindingCode] = MappingProxyType({f.label: f for f in _FINDINGS})


def finding_code(label: str) -> FindingCode:
    """Return the codes of a label. Raises ObjectError for a label that is not one of the 14."""
    try:
        return FINDING_CODES[label]
    except KeyError:
        known = ", ".join(FINDING_CODES)
        raise ObjectError(f"no code for the finding {label!r}; the known ones: {known}") from None


def private_scheme_item() -> Dataset:
    """Return the item of CodingSchemeIdentificationSequence (0008,0110) for `99CXRD`."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = PRIVATE_SCHEME_UID
    item.CodingSchemeName = "cxrd private codes"
    item.CodingSchemeResponsibleOrganization = "cxrd project"
    return item
