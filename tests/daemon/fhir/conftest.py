import pytest

from dicom_io.objects.encode import to_bytes
from dicom_io.report.document import build_report
from dicom_io.report.reading.read_values import ReadReport
from dicom_io.report.reading.reader import read_report
from tests.builders.objects import whole_content


@pytest.fixture(scope="package")
def report_bytes() -> bytes:
    return to_bytes(build_report(whole_content()))


@pytest.fixture(scope="package")
def report(report_bytes: bytes) -> ReadReport:
    return read_report(report_bytes)
