"""A DICOM file of a STOW-RS request as the instance that a C-STORE would have brought.

The preamble and the file meta information are written anew, as for a C-STORE, and the data set is
kept byte for byte. So an object that comes by both services is one object, with one digest.
"""

from enum import IntEnum

from pydicom.uid import UID
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from dicom_io.dicomweb.file_meta import PREAMBLE, PREFIX, file_meta_of
from dicom_io.errors import DicomError, NotDicomError
from dicom_io.read.header import read_header
from dicom_io.receive.message_checks import uid_fault
from dicom_io.receive.negotiation import RECEIVABLE_SYNTAXES, STORAGE_CLASSES
from dicom_io.receive.store_request import ReceivedInstance


class FailureReason(IntEnum):
    """Reasons of a failed store (0008,1197), by PS3.18 table I.2-2."""

    PROCESSING = 0x0110
    SOP_CLASS = 0x0122
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    OTHER_STUDY = 0xA901
    CANNOT_UNDERSTAND = 0xC000
    TRANSFER_SYNTAX = 0xC122


class PartRefusedError(DicomError):
    """A part cannot be stored. The text says why; the UIDs are empty where they are unknown."""

    def __init__(
        self,
        message: str,
        reason: FailureReason,
        sop_class_uid: str = "",
        sop_instance_uid: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid


def instance_of_part(
    data: bytes, *, caller: str, host: str, study_instance_uid: str | None
) -> ReceivedInstance:
    """Return the instance in a DICOM file (PS3.10 7.1).

    `caller` stands where a C-STORE has its calling AE title. `study_instance_uid` is that of the
    request's path (PS3.18 10.5.1), None without one. Raises PartRefusedError.
    """
    try:
        meta = file_meta_of(data)
    except NotDicomError as error:
        raise PartRefusedError(str(error), FailureReason.CANNOT_UNDERSTAND) from None
    named = meta.sop_class_uid, meta.sop_instance_uid
    if meta.sop_class_uid not in STORAGE_CLASSES:
        raise PartRefusedError("its SOP class is no storage class", FailureReason.SOP_CLASS, *named)
    if meta.transfer_syntax_uid not in RECEIVABLE_SYNTAXES:
        message = "its transfer syntax is not supported"
        raise PartRefusedError(message, FailureReason.TRANSFER_SYNTAX, *named)
    file_meta = create_file_meta(
        sop_class_uid=UID(meta.sop_class_uid),
        sop_instance_uid=UID(meta.sop_instance_uid),
        transfer_syntax=UID(meta.transfer_syntax_uid),
    )
    with memoryview(data) as view:
        stored = b"".join((bytes(PREAMBLE), PREFIX, encode_file_meta(file_meta), view[meta.end :]))
    try:
        header = read_header(stored)
    except NotDicomError as error:
        raise PartRefusedError(str(error), FailureReason.CANNOT_UNDERSTAND, *named) from None
    for fault in (
        uid_fault("Study Instance UID", "0020,000D", header.study_instance_uid),
        uid_fault("Series Instance UID", "0020,000E", header.series_instance_uid),
    ):
        if fault:
            raise PartRefusedError(fault, FailureReason.CANNOT_UNDERSTAND, *named)
    if (header.sop_class_uid, header.sop_instance_uid) != named:
        message = "SOP Class UID or SOP Instance UID of data set and file meta information differ"
        raise PartRefusedError(message, FailureReason.MISMATCH, *named)
    if study_instance_uid is not None and header.study_instance_uid != study_instance_uid:
        message = "Study Instance UID is not that of the request's path"
        raise PartRefusedError(message, FailureReason.OTHER_STUDY, *named)
    return ReceivedInstance(
        data=stored,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        calling_ae_title=caller,
        calling_host=host,
        header=header,
    )
