"""STOW-RS: each outcome of a request, and what is kept after it."""

import hashlib
from io import BytesIO
from typing import Any

import httpx
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from dicom_io.dicomweb.multipart import DICOM_FILE, Part, related, written
from dicom_io.read.header import read_header
from storage.records import JobKind, Priority
from tests.builders.images.films import changed, data_set_bytes, film, received
from tests.builders.images.rejection_notes import rejection_note
from tests.servers.dicomweb.site import BOUNDARY, NORTH, SOUTH, VIEWER, Service, bearer, body_of

pytestmark = [pytest.mark.daemon, pytest.mark.network]

REFERENCED, FAILED, OTHERS = "00081199", "00081198", "0008119A"


def items(answer: httpx.Response, tag: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer.json().get(tag, {}).get("Value", [])
    return found


def reasons(answer: httpx.Response, tag: str = FAILED) -> list[int]:
    return [item["00081197"]["Value"][0] for item in items(answer, tag)]


def films_of(service: Service, data: bytes, source: str = "north") -> list[str]:
    """Return the senders of the revisions that the store has of a film."""
    study = service.store.results.study(read_header(data).study_instance_uid, source)
    return [one.calling_ae_title for one in study.instances]


def test_several_films_are_kept_and_queued_as_by_c_store(service: Service) -> None:
    films = [film("one"), film("two")]
    answer = service.post(*films)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    kept = {item["00081155"]["Value"][0] for item in items(answer, REFERENCED)}
    assert kept == {read_header(one).sop_instance_uid for one in films}
    for one in films:
        header = read_header(one)
        (row,) = service.store.results.study(header.study_instance_uid, "north").instances
        assert (row.calling_ae_title, row.patient_id) == ("ward", header.patient_id)
        jobs = [job.subject for job in service.store.jobs.list(kind=JobKind.ANALYSE)]
        assert str(row.id) in jobs
    urls = [item["00081190"]["Value"][0] for item in items(answer, REFERENCED)]
    assert urls[0] == f"{service.url}/studies/{read_header(films[0]).study_instance_uid}"


def test_a_client_stores_films_and_reads_the_outcome(service: Service) -> None:
    films = [dcmread(BytesIO(film(name))) for name in ("client 1", "client 2")]
    client = DICOMwebClient(service.url, headers=bearer(NORTH))
    outcome = client.store_instances(films)
    kept = {item.ReferencedSOPInstanceUID for item in outcome.ReferencedSOPSequence}
    assert kept == {one.SOPInstanceUID for one in films}
    assert "FailedSOPSequence" not in outcome


def test_the_same_film_again_is_one_film_and_other_bytes_are_a_revision(service: Service) -> None:
    first = film("again")
    second = changed(first, PatientComments="taken twice")
    assert service.post(first).status_code == 200
    assert service.post(first).status_code == 200
    assert service.post(second, path=f"/studies/{read_header(first).study_instance_uid}").is_success
    (row,) = service.store.results.study(read_header(first).study_instance_uid, "north").instances
    assert row.revision == 2


def test_a_film_that_came_by_c_store_is_the_same_film(service: Service) -> None:
    data = film("both ways")
    kept = service.post(data)
    assert kept.status_code == 200
    (row,) = service.store.results.study(read_header(data).study_instance_uid, "north").instances
    meta = dcmread(BytesIO(data)).file_meta
    # pynetdicom writes the meta information of a received data set so.
    written_meta = encode_file_meta(
        create_file_meta(
            sop_class_uid=meta.MediaStorageSOPClassUID,
            sop_instance_uid=meta.MediaStorageSOPInstanceUID,
            transfer_syntax=meta.TransferSyntaxUID,
        )
    )
    by_c_store = bytes(128) + b"DICM" + written_meta + data_set_bytes(data)
    assert row.sha256 == hashlib.sha256(by_c_store).hexdigest()


def test_each_instance_has_its_own_outcome(service: Service) -> None:
    good, bad = film("good"), b"no DICOM at all" * 20
    answer = service.post(good, bad, changed(film("class"), SOPInstanceUID="1.2.3.4"))
    assert answer.status_code == 202
    assert len(items(answer, REFERENCED)) == 1
    assert reasons(answer) == [0xA900]
    assert reasons(answer, OTHERS) == [0xC000]
    refused = [row for row in service.store.audit.rows() if row.kind == "instance_refused"]
    assert {"status 0xA900", "status 0xC000"} <= {row.detail.partition(":")[0] for row in refused}
    assert {row.actor for row in refused} == {"ward"}


def test_a_film_of_another_study_than_the_path_is_refused(service: Service) -> None:
    data = film("elsewhere")
    answer = service.post(data, path="/studies/1.2.3")
    assert answer.status_code == 409
    assert reasons(answer) == [0xA901]
    assert films_of(service, data) == []


@pytest.mark.parametrize(
    ("number", "reason"), [("1.2.840.10008.5.1.4.1.1", 0x0122), ("1.2.840.10008.1.2.1", 0xC122)]
)
def test_what_this_node_does_not_store_is_named(service: Service, number: str, reason: int) -> None:
    data = film("unknown")
    assert number.encode() in data[:400]
    answer = service.post(data.replace(number.encode(), b"9" + number[1:].encode(), 1))
    assert (answer.status_code, reasons(answer)) == (409, [reason])


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Content_Type": "application/dicom"}, 415, "multipart/related"),
        ({"Content_Type": 'multipart/related; type="application/dicom"'}, 400, "boundary"),
        (
            {"Content_Type": 'multipart/related; type="application/dicom+json"; boundary=x'},
            415,
            "bulk data",
        ),
        (
            {"Content_Type": 'multipart/related; type="application/dicom+xml"; boundary=x'},
            415,
            "bulk data",
        ),
        ({"Accept": "application/dicom+xml"}, 406, "application/dicom+json"),
    ],
)
def test_a_request_in_another_form_is_refused_in_words(
    service: Service, headers: dict[str, str], status: int, words: str
) -> None:
    answer = service.post(film("form"), **headers)
    assert answer.status_code == status
    assert words in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_request_without_a_length_is_refused(service: Service) -> None:
    request = httpx.Request("POST", f"{service.url}/studies")
    request.headers["Authorization"] = f"Bearer {NORTH}"
    request.headers["Content-Type"] = related(DICOM_FILE, BOUNDARY)
    del request.headers["Content-Length"]
    with httpx.Client() as client:
        assert client.send(request).status_code == 411


def test_an_empty_request_is_refused(service: Service) -> None:
    assert service.post().status_code == 400
    assert service.post_body(b"").status_code == 400


def test_a_body_without_its_end_keeps_what_came_before(service: Service) -> None:
    whole, cut = film("whole"), film("cut off")
    body = body_of(whole, cut)
    answer = service.post_body(body[: len(body) - len(cut) // 2])
    assert answer.status_code == 400
    assert len(items(answer, REFERENCED)) == 1
    assert films_of(service, whole) == ["ward"]
    assert films_of(service, cut) == []


def test_an_instance_beyond_the_limit_is_refused(service: Service) -> None:
    assert service.post(bytes(2 << 20)).status_code == 413


def test_a_part_of_another_type_is_refused(service: Service) -> None:
    parts = [Part.of(b"<html>", "text/html")]
    answer = service.post_body(b"".join(written(parts, BOUNDARY)))
    assert (answer.status_code, reasons(answer, OTHERS)) == (409, [0xC000])


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401), (VIEWER, 403)])
def test_only_a_client_that_stores_may_store(service: Service, token: str, status: int) -> None:
    data = film("foreign")
    answer = service.post(data, token=token)
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert films_of(service, data) == []


def test_a_film_is_of_the_source_of_its_client(service: Service) -> None:
    data = film("shared")
    assert service.post(data, token=NORTH).status_code == 200
    assert service.post(data, token=SOUTH).status_code == 200
    assert films_of(service, data, "north") == ["ward"]
    assert films_of(service, data, "south") == ["south"]


def test_an_urgent_film_and_a_rejection_note_mean_what_they_mean_by_c_store(
    service: Service,
) -> None:
    urgent = changed(film("urgent"), RequestedProcedurePriority="STAT")
    note = rejection_note([received(urgent).header])
    assert service.post(urgent, note).status_code == 200
    study = service.store.results.study(read_header(urgent).study_instance_uid, "north")
    assert {one.priority for one in study.instances if one.modality != "KO"} == {Priority.STAT}
    assert len(study.instances) == 2
