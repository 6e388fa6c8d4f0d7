"""QIDO-RS and WADO-RS, asked by `dicomweb-client`: what is found and fetched, and what is not."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import httpx
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from requests import HTTPError

from daemon.web.dicomweb.transfer import Transfers
from dicom_io.dicomweb.multipart import MultipartReader
from dicom_io.read.header import Header, read_header
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, ObjectKind, ObjectRecord
from storage.tables.clock import utc_now
from tests.builders.images.films import changed, file_bytes, film
from tests.builders.store_rows import analysis, claim, made_object
from tests.servers.dicomweb.site import NORTH, SOUTH, VIEWER, Service, bearer

pytestmark = [pytest.mark.daemon, pytest.mark.network]

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def client_of(service: Service, token: str = NORTH) -> DICOMwebClient:
    return DICOMwebClient(service.url, headers=bearer(token))


def stored(service: Service, name: str, token: str = NORTH, **changes: str) -> tuple[bytes, Header]:
    """Store a film of a study of its own."""
    data = film(name)
    if changes:
        data = changed(data, **changes)
    assert service.post(data, token=token).status_code == 200
    return data, read_header(data)


def uids_of(results: list[dict[str, Any]], tag: str = "0020000D") -> list[str]:
    return [one[tag]["Value"][0] for one in results]


def path_of(header: Header) -> str:
    return (
        f"/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
        f"/instances/{header.sop_instance_uid}"
    )


def parts_of(answer: Any) -> list[bytes]:
    reader = MultipartReader(answer.headers["content-type"])
    found = [part.data for part in reader.feed(answer.content)]
    reader.finish()
    return found


def test_a_film_comes_back_as_it_was_stored(service: Service) -> None:
    data, header = stored(service, "back")
    client = client_of(service)
    sent = dcmread(BytesIO(data))
    names = header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid
    for found in (
        client.retrieve_instance(*names),
        *client.retrieve_series(*names[:2]),
        *client.retrieve_study(names[0]),
    ):
        assert found == sent
        assert found.PixelData == sent.PixelData


def test_the_metadata_are_those_of_the_file(service: Service) -> None:
    data, header = stored(
        service, "meta", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192"
    )
    (found,) = client_of(service).retrieve_study_metadata(header.study_instance_uid)
    told = Dataset.from_json(found, lambda _tag, _vr, _uri: b"")
    sent = dcmread(BytesIO(data))
    for element in sent:
        if element.keyword != "PixelData":
            assert told[element.tag].value == element.value, element
    # This client names the host without its port in the header Host, from which the URI is made.
    uri = found["7FE00010"]["BulkDataURI"].partition("/dicom-web")[2]
    assert client_of(service).retrieve_bulkdata(service.url + uri) == [sent.PixelData]
    names = header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid
    assert client_of(service).retrieve_instance_frames(*names, [1]) == [sent.PixelData]


def test_a_search_finds_studies_by_each_attribute(service: Service) -> None:
    _, header = stored(
        service,
        "sought",
        PatientID="Sought_1",
        PatientName="Sought^Anna",
        AccessionNumber="A-77",
        StudyDate="20240229",
    )
    stored(service, "not sought", PatientID="sought-1", StudyDate="20240301")
    client = client_of(service)
    for filters in (
        {"PatientID": "Sought_1"},
        {"PatientID": "Sought?1"},
        {"PatientID": "Sou*_1"},
        {"PatientName": "sought^*"},
        {"AccessionNumber": "A-77"},
        {"StudyDate": "20240229"},
        {"StudyDate": "20240201-20240229"},
        {"StudyDate": "20240229-20240229", "ModalitiesInStudy": "CR"},
        {"StudyInstanceUID": header.study_instance_uid},
        {"00100020": "Sought_1"},
    ):
        found = client.search_for_studies(search_filters=filters)
        assert uids_of(found) == [header.study_instance_uid], filters
    for filters in (
        {"PatientID": "SOUGHT_1"},
        {"PatientID": "Sought"},
        {"StudyDate": "-19991231"},
        {"ModalitiesInStudy": "SR", "PatientID": "Sought_1"},
        {"StudyInstanceUID": "1.2.3"},
    ):
        assert client.search_for_studies(search_filters=filters) == [], filters
    (study,) = service.get("/studies?AccessionNumber=A-77").json()
    assert study["00100010"]["Value"] == [{"Alphabetic": "Sought^Anna"}]
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [1]
    assert study["00081190"]["Value"] == [f"{service.url}/studies/{header.study_instance_uid}"]


def test_a_search_finds_series_and_instances(service: Service) -> None:
    _, header = stored(service, "levels", PatientID="Levels")
    client = client_of(service)
    study = header.study_instance_uid
    for found in (
        client.search_for_series(study),
        client.search_for_series(search_filters={"PatientID": "Levels"}),
        client.search_for_series(study, search_filters={"Modality": header.modality}),
    ):
        assert uids_of(found, "0020000E") == [header.series_instance_uid]
    for found in (
        client.search_for_instances(study),
        client.search_for_instances(study, header.series_instance_uid),
        client.search_for_instances(search_filters={"SOPInstanceUID": header.sop_instance_uid}),
    ):
        assert uids_of(found, "00080018") == [header.sop_instance_uid]
    assert client.search_for_series(study, search_filters={"Modality": "SR"}) == []


def test_results_come_in_pages(service: Service) -> None:
    headers = [stored(service, f"page {n}", PatientID=f"Page{n}")[1] for n in range(3)]
    wanted = [header.study_instance_uid for header in headers]
    first = service.get("/studies?PatientID=Page*&limit=2")
    rest = service.get("/studies?PatientID=Page*&limit=2&offset=2")
    assert uids_of(first.json()) + uids_of(rest.json()) == wanted
    assert "more results" in first.headers["warning"]
    assert "warning" not in rest.headers
    series = service.get("/series?PatientID=Page*&limit=1&offset=1").json()
    assert uids_of(series) == wanted[1:2]
    fuzzy = service.get("/studies?PatientID=Page0&fuzzymatching=true&includefield=all")
    assert len(fuzzy.json()) == 1
    assert fuzzy.headers["warning"].startswith("299 ")


@pytest.mark.parametrize(
    "query",
    [
        "Foo=1",
        "PatientBirthDate=19700101",
        "limit=x",
        "limit=-1",
        "offset=9999999999999999999",
        "StudyDate=2024",
        "StudyDate=-",
        "StudyInstanceUID=x",
        "includefield=no+field",
        "fuzzymatching=maybe",
        "PatientID=a&PatientID=b",
        "SOPInstanceUID=1.2",
        "PatientID=%FF",
        "PatientName=*a*b*c*d*e",
        "&".join("PatientID=1" for _ in range(200)),
    ],
)
def test_a_malformed_search_is_refused(service: Service, query: str) -> None:
    assert service.get(f"/studies?{query}").status_code == 400


def test_another_source_is_like_no_source(service: Service) -> None:
    _, header = stored(service, "foreign study", token=SOUTH)
    study = header.study_instance_uid
    paths = [
        f"/studies/{study}",
        f"/studies/{study}/metadata",
        path_of(header),
        f"{path_of(header)}/rendered",
        f"{path_of(header)}/frames/1",
        f"{path_of(header)}/bulkdata/7FE00010",
    ]
    for path in paths:
        foreign = service.get(path, accept="*/*")
        unknown = service.get(path.replace(study, "1.2.3"), accept="*/*")
        assert (foreign.status_code, foreign.text) == (404, unknown.text), path
        assert foreign.headers.keys() == unknown.headers.keys()
        assert service.get(path, token=VIEWER, accept="*/*").status_code == 200, path
    for path in ("/studies", "/series", "/instances", f"/studies/{study}/series"):
        assert study not in uids_of(service.get(path).json())
        assert study in uids_of(service.get(path, token=VIEWER).json())


def result(service: Service, header: Header, kind: ObjectKind, uid: str) -> ObjectRecord:
    """Write the file of a result, and return its row."""
    data = changed(film(f"made {uid}"), SOPInstanceUID=uid, SeriesInstanceUID=f"{uid}.1")
    spool = FolderSpool(service.data / "spool")
    written = spool.write(f"objects/aa/{uid}.dcm", data)
    row = made_object(uid, kind)
    return replace(
        row,
        spool_path=written.path,
        sha256=written.sha256,
        size=written.size,
        study_instance_uid=header.study_instance_uid,
        source="north",
    )


def test_valid_results_are_offered_and_replaced_ones_are_not(service: Service) -> None:
    data, header = stored(service, "with results")
    study = header.study_instance_uid
    instance = service.store.results.study(study, "north").instances[0]
    subjects = {str(instance.id)}
    while (job := claim(service.store, JobKind.ANALYSE)).subject not in subjects:
        pass
    picture = result(service, header, ObjectKind.HEATMAP, "2.25.801")
    picture = replace(picture, instance_id=instance.id, label="Mass")
    service.store.results.record_analysis(job, instance.id, analysis(utc_now(), objects=[picture]))
    client = client_of(service)
    found = uids_of(client.search_for_instances(study), "00080018")
    assert found == [header.sop_instance_uid, "2.25.801"]
    (series,) = client.search_for_series(study, search_filters={"Modality": "OT"})
    assert series["0020000E"]["Value"] == ["2.25.801.1"]
    assert client.retrieve_instance(study, "2.25.801.1", "2.25.801").SOPInstanceUID == "2.25.801"
    (listed,) = client.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert listed["00080061"]["Value"] == [header.modality, "OT"]
    # Other bytes of the film: its picture is replaced with it.
    assert service.post(changed(data, PatientComments="again")).status_code == 200
    assert uids_of(client.search_for_instances(study), "00080018") == [header.sop_instance_uid]


def in_syntax(data: bytes, syntax: UID) -> bytes:
    """Return a film in another transfer syntax."""
    dataset = dcmread(BytesIO(data))
    if syntax.is_compressed:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    return file_bytes(dataset)


def test_a_transfer_syntax_is_negotiated(service: Service) -> None:
    implicit = in_syntax(film("implicit"), ImplicitVRLittleEndian)
    compressed = in_syntax(film("compressed"), RLELossless)
    assert service.post(implicit, compressed).status_code == 200
    paths = [path_of(read_header(data)) for data in (implicit, compressed)]
    plain = 'multipart/related; type="application/dicom"'
    answers = [service.get(path, accept=plain) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 406]
    assert RLELossless in answers[1].text
    (converted,) = parts_of(answers[0])
    found, sent = dcmread(BytesIO(converted)), dcmread(BytesIO(implicit))
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found == sent
    for path, syntax in zip(paths, (ImplicitVRLittleEndian, RLELossless), strict=True):
        (kept,) = parts_of(service.get(path, accept=AS_STORED))
        assert dcmread(BytesIO(kept)).file_meta.TransferSyntaxUID == syntax
    frames = f"{paths[1]}/frames"
    kind = 'multipart/related; type="image/dicom-rle"'
    (frame,) = parts_of(service.get(f"{frames}/1", accept=kind))
    assert frame == next(generate_frames(dcmread(BytesIO(compressed)).PixelData))
    assert service.get(f"{frames}/1", accept="image/png").status_code == 406
    assert service.get(f"{frames}/2", accept="*/*").status_code == 404
    assert service.get(f"{frames}/0,x", accept="*/*").status_code == 400
    assert service.get(f"{frames}/1,1", accept="*/*").status_code == 400


def test_the_file_of_one_film_is_sent_in_pieces_for_a_bounded_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, header = stored(service, "single")
    answer = service.get(path_of(header), accept="application/dicom; transfer-syntax=*")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert dcmread(BytesIO(answer.content)) == dcmread(BytesIO(data))
    monkeypatch.setattr(Transfers, "begin", lambda _: False)
    busy = service.get(path_of(header), accept="application/dicom; transfer-syntax=*")
    assert busy.status_code == 503


def test_metadata_leave_out_numbers_that_json_does_not_have(service: Service) -> None:
    dataset = dcmread(BytesIO(film("not a number")))
    dataset.ExposureTimeInms = float("nan")
    dataset.ExposureInmAs = 2.5
    data = file_bytes(dataset)
    assert service.post(data).status_code == 200
    (found,) = service.get(f"{path_of(read_header(data))}/metadata").json()
    assert "00189328" not in found
    assert found["00189332"]["Value"] == [2.5]


def test_a_film_is_rendered(service: Service) -> None:
    _, header = stored(service, "picture")
    answer = service.get(f"{path_of(header)}/rendered", accept="image/png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert service.get(f"{path_of(header)}/rendered", accept="image/gif").status_code == 406


def test_a_client_that_does_not_read_gets_nothing(service: Service) -> None:
    for token in ("", "wrong"):
        assert service.get("/studies", token=token).status_code == 401
    with pytest.raises(HTTPError, match="401"):
        client_of(service, "wrong").search_for_studies()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 404),
        ("/", 404),
        ("/studies/1.2.3/", 404),
        ("/studies/..%2F..%2Fetc", 404),
        ("/studies/1.2.3/series/x", 404),
        ("/patients", 404),
        ("/studies/1.2.3/thumbnail", 404),
    ],
)
def test_an_unknown_path_is_no_resource(service: Service, path: str, status: int) -> None:
    assert service.get(path).status_code == status


def test_other_methods_are_refused(service: Service) -> None:
    headers = bearer(NORTH)
    answer = httpx.delete(f"{service.url}/studies/1.2.3", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert httpx.post(f"{service.url}/instances", headers=headers).status_code == 405


def test_the_pages_do_not_know_these_tokens(service: Service) -> None:
    answer = httpx.get(
        service.url.replace("/dicom-web", "/api/studies.json"), headers=bearer(NORTH)
    )
    assert answer.status_code == 401


def test_each_retrieval_is_in_the_audit_trail(service: Service) -> None:
    _, header = stored(service, "audited")
    client = client_of(service, VIEWER)
    client.retrieve_study(header.study_instance_uid)
    client.retrieve_study_metadata(header.study_instance_uid)
    service.get(f"/studies/{header.study_instance_uid}/series", token=VIEWER)
    rows = [row for row in service.store.audit.rows() if header.study_instance_uid in row.subject]
    assert [(row.kind, row.actor) for row in rows if row.actor == "viewer"] == [
        ("instances_retrieved", "viewer"),
        ("study_viewed", "viewer"),
        ("studies_searched", "viewer"),
    ]
