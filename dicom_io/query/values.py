"""Queries, the studies and instances that answer them, and the checks of an answer."""

import re
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from dicom_io.read.header import is_uid, text

_WILDCARDS = re.compile(r"[*?\\]")
_DATE = re.compile(r"\d{8}")


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """The keys of a query for studies; an empty key matches any study.

    `first_day` and `last_day` are inclusive, as YYYYMMDD. `modalities` are alternatives.
    """

    study_instance_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    first_day: str = ""
    last_day: str = ""
    modalities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the keys. Raises ValueError for a wildcard, a malformed key, or no key at all."""
        named = (
            ("Study Instance UID", self.study_instance_uid),
            ("accession number", self.accession_number),
            ("Patient ID", self.patient_id),
            ("issuer of Patient ID", self.issuer_of_patient_id),
            *(("modality", modality) for modality in self.modalities),
        )
        for name, value in named:
            if _WILDCARDS.search(value) or not value.isprintable() or len(value) > 64:
                raise ValueError(
                    f"the {name} may hold no *, no ? and no backslash: name it exactly"
                )
        if self.study_instance_uid and not is_uid(self.study_instance_uid):
            raise ValueError("the Study Instance UID has digits and dots alone, at most 64")
        for day in (self.first_day, self.last_day):
            if day and not is_day(day):
                raise ValueError(f"{day} is no date as YYYYMMDD")
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise ValueError("the first day is after the last day")
        if not any((self.study_instance_uid, self.accession_number, self.patient_id, self.days)):
            raise ValueError("a query names a study, an accession number, a patient or days")

    @property
    def days(self) -> str:
        """The range of days as a key (PS3.4 C.2.2.2.5); empty for any day."""
        if not self.first_day and not self.last_day:
            return ""
        if self.first_day == self.last_day:
            return self.first_day
        return f"{self.first_day}-{self.last_day}"


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study at an archive; an attribute that the archive did not give is empty.

    `instances` is the number of its instances by the archive, None if it did not say.
    """

    study_instance_uid: str
    accession_number: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    study_date: str = ""
    study_time: str = ""
    modalities: tuple[str, ...] = ()
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An instance at an archive; `sop_class_uid` is empty if the archive did not give it."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""


def is_day(value: str) -> bool:
    """Return True for a date as YYYYMMDD that exists."""
    if not _DATE.fullmatch(value):
        return False
    try:
        datetime.strptime(value, "%Y%m%d")  # noqa: DTZ007 - a day, without a time
    except ValueError:
        return False
    return True


def study_of(answer: Dataset) -> FoundStudy:
    """Return the study of an answer at the STUDY level; malformed attributes are empty."""
    count = text(answer, "NumberOfStudyRelatedInstances")
    modalities = text(answer, "ModalitiesInStudy")
    return FoundStudy(
        study_instance_uid=text(answer, "StudyInstanceUID"),
        accession_number=text(answer, "AccessionNumber"),
        patient_id=text(answer, "PatientID"),
        issuer_of_patient_id=text(answer, "IssuerOfPatientID"),
        study_date=text(answer, "StudyDate"),
        study_time=text(answer, "StudyTime"),
        modalities=tuple(part for part in modalities.split("\\") if part),
        instances=int(count) if count.isascii() and count.isdecimal() else None,
    )


def fault_of(found: FoundStudy, query: StudyQuery) -> str:
    """Return the reason why a study does not answer a query, or an empty text.

    An archive must match these keys (PS3.4 C.6.2.1): a study that has other values is not what was
    asked for, and its patient may be another.
    """
    if not is_uid(found.study_instance_uid):
        return "it has no valid Study Instance UID"
    if query.study_instance_uid and found.study_instance_uid != query.study_instance_uid:
        return "another Study Instance UID than asked for"
    if query.accession_number and found.accession_number != query.accession_number:
        return "another accession number than asked for"
    if query.patient_id and found.patient_id != query.patient_id:
        return "another Patient ID than asked for"
    issuers = query.issuer_of_patient_id, found.issuer_of_patient_id
    if all(issuers) and issuers[0] != issuers[1]:
        return "another issuer of the Patient ID than asked for"
    if query.days:
        if not is_day(found.study_date):
            return "its Study Date is no date"
        if not (query.first_day or "0") <= found.study_date <= (query.last_day or "9"):
            return "a Study Date outside the days asked for"
    return ""


def has_modality(found: FoundStudy, modalities: tuple[str, ...]) -> bool:
    """Return True if a study has one of the modalities, or if the archive does not say."""
    return not modalities or not found.modalities or bool({*modalities} & {*found.modalities})
