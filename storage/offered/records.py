"""The value objects of the instances on offer."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from storage.records import ObjectKind

MODALITIES: Mapping[ObjectKind, str] = MappingProxyType(
    {
        ObjectKind.REPORT: "SR",
        ObjectKind.HEATMAP: "OT",
        ObjectKind.SUMMARY: "OT",
        ObjectKind.PRESENTATION_STATE: "PR",
        ObjectKind.SEGMENTATION: "SEG",
    }
)
"""The kinds of results on offer, with the modality (0008,0060) of each."""


@dataclass(frozen=True, slots=True)
class StudyMatch:
    """Conditions on studies, all of which must hold; an empty one holds always.

    In a text, `*` stands for any characters and `?` for one (PS3.4 C.2.2.2.4). The name is compared
    without case. Dates are YYYYMMDD, the first and the last that match.
    """

    study_instance_uids: tuple[str, ...] = ()
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    first_date: str = ""
    last_date: str = ""
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferedStudy:
    """A study of one source: its patient, its modalities, and the number of its instances."""

    source: str
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_sex: str
    patient_birth_date: str
    accession_number: str
    study_date: str
    modalities: tuple[str, ...]
    instances: int


@dataclass(frozen=True, slots=True)
class OfferedInstance:
    """A received film, or a result of this node, whose file can be read.

    `kind` is None for a received film. A result has no `series_instance_uid` and no
    `transfer_syntax_uid` here: only its file has them. `number` is that of the film in the store.
    """

    source: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    spool_path: str
    sha256: str
    size: int
    kind: ObjectKind | None = None
    number: int | None = None
