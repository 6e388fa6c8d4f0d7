"""Encoding of a new object as a DICOM file."""

import copy
from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_io.objects.uids import derived_uid
from dicom_io.read.warnings_off import suppressed_warnings

IMPLEMENTATION_CLASS_UID = UID(derived_uid("cxrd", "", "implementation"))
IMPLEMENTATION_VERSION_NAME = "CXRD"


def to_bytes(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the object as a DICOM file (PS3.10); `ds` is kept.

    The pixels are encoded in the transfer syntax already, which has explicit VRs in little endian.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    whole = copy.copy(ds)
    whole.file_meta = meta
    whole.preamble = b"\0" * 128
    buffer = BytesIO()
    with suppressed_warnings():
        dcmwrite(buffer, whole, enforce_file_format=True)
    return buffer.getvalue()
