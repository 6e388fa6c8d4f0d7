"""A C-STORE request: the received object, its checks and the status of the answer."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pynetdicom import evt

from dicom_io.errors import NotDicomError
from dicom_io.read.header import Header, read_header
from dicom_io.receive.message_checks import uid_fault


class StoreStatus(IntEnum):
    """Status of the response to a C-STORE (PS3.4 table B.2-1)."""

    SUCCESS = 0x0000
    OUT_OF_RESOURCES = 0xA700
    SOP_CLASS_MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One object as received.

    `data` is a whole file: preamble and file meta information written here, then the data set byte
    for byte as received. The UIDs are the command's, the transfer syntax is the presentation
    context's. `header` is read from the data set, once, and agrees with them. `move_originator` is
    the AE title whose C-MOVE brought the object (PS3.7 9.1.1.1.5), empty if the sender names none.
    """

    data: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    calling_host: str
    header: Header
    called_ae_title: str = ""
    move_originator: str = ""


def received(event: evt.Event) -> ReceivedInstance:
    """Return the instance of an `evt.EVT_C_STORE`.

    The UIDs of its command are valid (see `message_checks`). Raises NotDicomError, which names the
    item, if a UID of the data set is not.
    """
    request: Any = event.request
    association: Any = event.assoc.requestor.primitive
    sop_class_uid = str(request.AffectedSOPClassUID or "")
    sop_instance_uid = str(request.AffectedSOPInstanceUID or "")
    data = event.encoded_dataset()
    header = read_header(data)
    for fault in (
        uid_fault("Study Instance UID", "0020,000D", header.study_instance_uid),
        uid_fault("Series Instance UID", "0020,000E", header.series_instance_uid),
    ):
        if fault:
            raise NotDicomError(fault)
    return ReceivedInstance(
        data=data,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae_title=str(event.assoc.requestor.ae_title).strip(),
        calling_host=str(event.assoc.requestor.address),
        header=header,
        called_ae_title=str(association.called_ae_title).strip(),
        move_originator=str(request.MoveOriginatorApplicationEntityTitle or "").strip(),
    )


def mismatch(event: evt.Event, instance: ReceivedInstance) -> str:
    """Return the contradiction of data set, command and presentation context, or an empty text."""
    if instance.sop_class_uid != str(event.context.abstract_syntax):
        return "SOP Class UID (0000,0002) differs from the presentation context"
    if instance.header.sop_class_uid != instance.sop_class_uid:
        return "SOP Class UID of data set and command differ"
    if instance.header.sop_instance_uid != instance.sop_instance_uid:
        return "SOP Instance UID of data set and command differ"
    return ""
