import copy
from io import BytesIO

import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io.objects.encode import IMPLEMENTATION_CLASS_UID, to_bytes
from dicom_io.report.document import build_report
from tests.builders.objects import (
    full_header,
    report_content,
)


def test_bytes_are_a_part_10_file_in_explicit_little_endian() -> None:
    ds = build_report(report_content(full_header()))
    data = to_bytes(ds)
    assert data[128:132] == b"DICM"
    read = pydicom.dcmread(BytesIO(data))
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert IMPLEMENTATION_CLASS_UID.is_valid


def test_encoding_does_not_change_the_object() -> None:
    ds = build_report(report_content(full_header()))
    before = copy.deepcopy(ds)
    to_bytes(ds)
    assert ds == before
    assert not hasattr(ds, "file_meta")
