"""STOW-RS, QIDO-RS and WADO-RS against Orthanc, with dicomweb-client on the other end."""

from collections.abc import Iterator
from io import BytesIO

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from dicom_io.dicomweb.client import DicomwebClient, Retrieved
from dicom_io.dicomweb.multipart import Limits
from dicom_io.dicomweb.sender import WebSender
from dicom_io.errors import DicomwebError
from dicom_io.http.client import Endpoint
from dicom_io.objects.classes import REPORT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import as_class
from dicom_io.send.store_status import Disposition
from tests.builders.images.films import film
from tests.builders.objects import capture_content, full_header, report_content
from tests.servers.dicom.orthanc import Orthanc, running_orthanc, with_dicomweb

pytestmark = [pytest.mark.network, pytest.mark.slow]
FILMS = [film(f"film-{number}") for number in range(5)]


def parsed(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), with_dicomweb()) as running:
        yield running


@pytest.fixture
def client(orthanc: Orthanc) -> Iterator[DicomwebClient]:
    with DicomwebClient(Endpoint("orthanc", orthanc.web_url)) as opened:
        yield opened


@pytest.fixture
def other(orthanc: Orthanc) -> DICOMwebClient:
    """The independent client."""
    return DICOMwebClient(orthanc.web_url)


def results() -> list[bytes]:
    """Return a report in each of its classes, and a picture."""
    report = build_report(report_content(full_header()))
    return [
        *(to_bytes(as_class(report, sop_class)) for sop_class in REPORT_CLASSES),
        to_bytes(build_capture(capture_content(full_header()))),
    ]


def test_what_is_stored_is_read_back_by_another_client(
    client: DicomwebClient, other: DICOMwebClient
) -> None:
    sender = WebSender(client)
    for data in results():
        for _ in range(2):
            found = sender.send(data)
            assert (found.result.disposition, found.result.status) == (Disposition.DELIVERED, 0)
            assert found.answer == "HTTP 200"
        sent = parsed(data)
        names = (sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID)
        read = other.retrieve_instance(
            *names, media_types=(("application/dicom", str(sent.file_meta.TransferSyntaxUID)),)
        )
        assert read == sent
        (match,) = other.search_for_instances(search_filters={"SOPInstanceUID": names[2]})
        assert match["00080016"]["Value"] == [sent.SOPClassUID]
        assert client.holds(names[0], names[2])
    assert not client.holds(names[0], "1.2.3.404")


def test_what_another_client_stored_is_found_and_retrieved(
    client: DicomwebClient, other: DICOMwebClient
) -> None:
    sent = {str(ds.SOPInstanceUID): ds for ds in map(parsed, FILMS)}
    other.store_instances(list(sent.values()))
    studies = {str(ds.StudyInstanceUID) for ds in sent.values()}
    patients = {str(ds.PatientID) for ds in sent.values()}
    found = [
        match["0020000D"]["Value"][0]
        for patient in patients
        for match in client.search("studies", {"PatientID": patient}, page=2)
    ]
    assert sorted(found) == sorted(studies)
    assert list(client.search("studies", {"PatientID": "none"})) == []
    for study in studies:
        kept: list[bytes] = []
        expected = [ds for ds in sent.values() if ds.StudyInstanceUID == study]
        assert client.retrieve(kept.append, study) == Retrieved(len(expected), True)
        for data in kept:
            ds = parsed(data)
            assert ds == sent[str(ds.SOPInstanceUID)]
            assert ds.file_meta.TransferSyntaxUID == expected[0].file_meta.TransferSyntaxUID


def test_a_film_is_retrieved_byte_for_byte_as_it_was_stored(client: DicomwebClient) -> None:
    data = film("as-it-is")
    assert WebSender(client).send(data).result.status == 0
    ds = parsed(data)
    names = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    for depth in (1, 2, 3):
        kept: list[bytes] = []
        client.retrieve(kept.append, *names[:depth])
        assert kept == [data]
    with pytest.raises(DicomwebError, match="more than 1000 bytes in part 1"):
        client.retrieve(kept.append, *names, limits=Limits(part_bytes=1000))


def test_refusals_of_orthanc_are_understood(client: DicomwebClient, orthanc: Orthanc) -> None:
    cut = film("cut")[:2000]
    assert WebSender(client).send(cut).result.disposition is Disposition.PARK
    with pytest.raises(DicomwebError, match="HTTP 404"):
        client.retrieve(lambda _: None, "1.2.3.404")
    wrong = Endpoint("orthanc", f"{orthanc.web_url}-none")
    with DicomwebClient(wrong) as elsewhere, pytest.raises(DicomwebError, match="check the path"):
        elsewhere.test()
