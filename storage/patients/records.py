"""The change of a patient as a registration system sends it, and the result of its application.

Messages are HL7 v2 ADT (chapter 3): A08 and A31 change a patient's data, A40 merges two patients.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    """The kinds of changes."""

    UPDATE = "update"  # ADT^A08 or ADT^A31: the data of one patient
    MERGE = "merge"  # ADT^A40: the films of the prior patient are those of the patient


@dataclass(frozen=True, slots=True)
class PatientChange:
    """A message about one patient, with all that the store needs of it.

    A field of name, birth date and sex is None if the message does not tell it (the field is
    absent or empty), and '' if the message deletes it (HL7 writes `""`, chapter 2.5.3). A sex that
    the message calls unknown (U) does not tell the sex.

    Attributes:
        kind: update or merge.
        event: the trigger event, for people: A08, A31 or A40.
        sender: the name of the sender in the configuration.
        control_id: the Message Control ID (MSH-10), unique for the sender.
        sha256: the digest of the message as it was received.
        sources: the sources whose films it may change.
        event_time: when the change happened (EVN-6, else EVN-2, else MSH-7), aware.
        patient_id: the Patient ID (PID-3.1): of a merge, the one that stays.
        issuer: its assigning authority (PID-3.4) as the films write IssuerOfPatientID; '' for none.
        name: the patient's name as a DICOM PN, for example `DOE^JANE`.
        birth_date: YYYYMMDD.
        sex: M, F or O.
        prior_patient_id: of a merge, the Patient ID (MRG-1.1) that ends.
        prior_issuer: its assigning authority (MRG-1.4).
        with_unissued: True if films without IssuerOfPatientID are of this issuer, too.
        host: the address of the sender, for the audit trail.
    """

    kind: ChangeKind
    event: str
    sender: str
    control_id: str
    sha256: str
    sources: tuple[str, ...]
    event_time: datetime
    patient_id: str
    issuer: str = ""
    name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    prior_patient_id: str = ""
    prior_issuer: str = ""
    with_unissued: bool = False
    host: str = ""


class ChangeOutcome(StrEnum):
    """The results of a message about a patient."""

    APPLIED = "applied"  # films have another identity now
    UNCHANGED = "unchanged"  # all films of the patient say the same, or a later message said it
    UNKNOWN_PATIENT = "unknown_patient"  # no film yet; films that come get the present identity
    REPEATED = "repeated"  # the same message was applied before


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of a message, and the numbers of films and studies that it changed.

    A repeated message has the numbers of its first application.
    """

    outcome: ChangeOutcome
    films: int = 0
    studies: int = 0
