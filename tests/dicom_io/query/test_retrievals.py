"""Retrievals from Orthanc, from dcmtk's archive, and from archives that lie."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import build_context
from pynetdicom.events import Event

from dicom_io.errors import AssociationError
from dicom_io.peer.peers import Peer
from dicom_io.query.retrieval import Retrieved, RetrieveSession, Service
from dicom_io.query.statuses import Outcome
from dicom_io.query.values import FoundInstance, StudyQuery
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.send.association import Destination
from tests.builders.images.films import ROOT, chest_film, data_set_bytes, file_bytes
from tests.servers.archives.dcmqrscp import AE_TITLE as DCMTK
from tests.servers.archives.dcmqrscp import fill, running_dcmqrscp
from tests.servers.archives.scripted import PENDING, QUICK, scripted_archive
from tests.servers.dicom.orthanc import AE_TITLE as ORTHANC
from tests.servers.dicom.orthanc import running_orthanc
from tests.servers.dicom.storage_node import CR, Inbox, running_node
from tests.tools.ports import HOST, NODE, free_port

pytestmark = pytest.mark.network

STUDY = f"{ROOT}.1"
FILMS = [file_bytes(chest_film(number=number)) for number in (1, 2, 3)]
OTHER = file_bytes(chest_film(study=2, AccessionNumber="A2"))
NAMED = FoundInstance(f"{STUDY}.1", f"{STUDY}.1.1")


def as_read(**drawn: Any) -> Dataset:
    """Return a film as an archive reads it from its disk."""
    return dcmread(BytesIO(file_bytes(chest_film(**drawn))))


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[Destination]:
    more = {"DicomModalities": {"cxrd": [NODE, HOST, node_port]}, "DicomAlwaysAllowGet": True}
    with running_orthanc(folder, more) as server:
        yield Destination("orthanc", ORTHANC, HOST, server.dicom_port, NODE, QUICK)


@contextmanager
def dcmtk(folder: Path, node_port: int) -> Iterator[Destination]:
    with running_dcmqrscp(folder, node_port) as archive:
        yield archive


@pytest.mark.parametrize("start", [orthanc, dcmtk])
def test_films_come_by_move_and_by_get(start: Any, tmp_path: Path) -> None:
    port = free_port()
    inbox = Inbox()
    peers = [Peer(ORTHANC), Peer(DCMTK)]
    with running_node(inbox, port=port, peers=peers), start(tmp_path, port) as archive:
        fill(archive, [*FILMS, OTHER])
        got: list[ReceivedInstance] = []

        def keep(instance: ReceivedInstance) -> StoreStatus:
            got.append(instance)
            return StoreStatus.SUCCESS

        with RetrieveSession(archive, Service.GET, keep) as session:
            found = session.find_studies(StudyQuery(accession_number="A1"))
            assert [study.study_instance_uid for study in found.studies] == [STUDY]
            films = session.find_films(STUDY)
            assert len(films) == 3
            result = session.retrieve(STUDY, films[1:])
            assert (result.outcome, result.completed) == (Outcome.DONE, 2)
        by_uid = {instance.sop_instance_uid: instance for instance in got}
        assert set(by_uid) == {film.sop_instance_uid for film in films[1:]}
        assert {one.calling_ae_title for one in got} == {archive.ae_title}
        for number in (1, 2, 3):
            if (uid := f"{STUDY}.1.{number}") in by_uid:
                kept = data_set_bytes(by_uid[uid].data)
                assert kept[-32000:] == data_set_bytes(FILMS[number - 1])[-32000:]
        with RetrieveSession(archive, Service.MOVE, keep) as session:
            result = session.retrieve(STUDY, films)
            assert (result.outcome, result.completed) == (Outcome.DONE, 3)
            result = session.retrieve(STUDY, films[:1])
            assert (result.outcome, result.completed) == (Outcome.DONE, 1)
            assert session.find_films(f"{ROOT}.9") == ()
    assert len(got) == 2
    assert len(inbox.instances) == 4
    assert {one.move_originator for one in inbox.instances} == {NODE}


def test_an_archive_that_does_not_know_this_node_says_what_to_do(tmp_path: Path) -> None:
    with running_dcmqrscp(tmp_path) as archive:
        fill(archive, FILMS[:1])
        with RetrieveSession(archive, Service.MOVE, lambda _: StoreStatus.SUCCESS) as session:
            result = session.retrieve(STUDY, [NAMED])
    assert result.outcome is Outcome.REFUSED
    assert "0xA801" in result.detail
    assert f"add the AE title {NODE}" in result.detail


def retrieved(
    archive: Destination, service: Service, got: list[ReceivedInstance], **options: Any
) -> Retrieved:
    def keep(instance: ReceivedInstance) -> StoreStatus:
        got.append(instance)
        return StoreStatus.SUCCESS

    with RetrieveSession(archive, service, keep, **options) as session:
        return session.retrieve(STUDY, [NAMED])


def test_films_that_were_not_asked_for_are_refused() -> None:
    def get(_: Event) -> Iterator[Any]:
        yield 3
        for film in (as_read(), as_read(number=2), as_read(study=2)):
            yield PENDING, film

    got: list[ReceivedInstance] = []
    with scripted_archive(get=get) as archive:
        result = retrieved(archive, Service.GET, got)
    assert [one.sop_instance_uid for one in got] == [NAMED.sop_instance_uid]
    assert (result.outcome, result.completed, result.failed) == (Outcome.PARTIAL, 1, 2)
    assert result.detail == "archive: it could not send 2 of 3 objects"


def test_a_film_that_is_too_large_ends_the_association() -> None:
    def get(_: Event) -> Iterator[Any]:
        yield 1
        yield PENDING, as_read(TextValue="x" * (3 << 20))

    with (
        scripted_archive(get=get) as archive,
        pytest.raises(AssociationError, match="a message of more than"),
    ):
        retrieved(archive, Service.GET, [], max_object_bytes=2 << 20)


def test_a_status_has_its_next_step() -> None:
    outcomes = {
        0xA702: Outcome.RETRY,
        0xA801: Outcome.REFUSED,
        0xC002: Outcome.FAILED,
        0xB000: Outcome.PARTIAL,
        0xA900: Outcome.REFUSED,
    }
    given = iter(outcomes)

    def get(_: Event) -> Iterator[Any]:
        yield 1
        yield next(given), None

    with (
        scripted_archive(get=get) as archive,
        RetrieveSession(archive, Service.GET, lambda _: StoreStatus.SUCCESS) as session,
    ):
        for outcome in outcomes.values():
            result = session.retrieve(STUDY, [NAMED])
            assert result.outcome is outcome
            assert result.detail


@pytest.mark.parametrize("service", Service)
def test_a_retrieval_that_is_stopped_is_cancelled(service: Service) -> None:
    cancelled = threading.Event()
    with running_node(Inbox(), peers=[Peer("ARCHIVE")]) as node:

        def answer(event: Event) -> Iterator[Any]:
            if service is Service.MOVE:
                yield HOST, node.port, {"contexts": [build_context(CR)]}
            yield 1
            while not event.is_cancelled:
                time.sleep(0.01)
            cancelled.set()
            yield 0xFE00, None

        with scripted_archive(get=answer, move=answer) as archive:
            result = retrieved(archive, service, [], should_stop=lambda: True)
    assert result.outcome is Outcome.CANCELLED
    assert cancelled.is_set()


def test_a_retrieval_is_given_up_after_its_time() -> None:
    def get(event: Event) -> Iterator[Any]:
        yield 1
        while not event.is_cancelled:
            time.sleep(0.01)
        yield 0xFE00, None

    with scripted_archive(get=get) as archive:
        result = retrieved(archive, Service.GET, [], seconds=0.1)
    assert (result.outcome, result.detail) == (Outcome.RETRY, "archive: not done after 0 s")
