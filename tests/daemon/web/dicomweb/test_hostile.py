"""Bodies that are broken, endless, slow or false: refused in bounded time, and the pages answer."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from dicom_io.dicomweb.multipart import DICOM_FILE, related
from dicom_io.read.header import read_header
from storage.errors import OutOfSpaceError
from storage.files.folder_spool import FolderSpool
from storage.files.spool import RECEIVED
from tests.builders.images.films import film
from tests.servers.dicomweb.site import BOUNDARY, NORTH, Service, body_of
from tests.tools.ports import HOST
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

STALL_SECONDS = 1.0


@contextmanager
def upload(service: Service, *more: str) -> Iterator[socket.socket]:
    """Open a request whose head is sent."""
    lines = [
        "POST /dicom-web/studies HTTP/1.1",
        f"Host: {HOST}",
        f"Authorization: Bearer {NORTH}",
        f"Content-Type: {related(DICOM_FILE, BOUNDARY)}",
        *more,
        "",
        "",
    ]
    with socket.create_connection((HOST, service.port), timeout=15) as connection:
        connection.sendall("\r\n".join(lines).encode())
        yield connection


def answer(connection: socket.socket) -> str:
    """Return the status line of the answer; empty if the connection ended without one."""
    try:
        return connection.recv(65536).decode("latin-1").partition("\r\n")[0]
    except ConnectionError:
        return ""


def files_in_spool(service: Service) -> int:
    spool = FolderSpool(service.data / "spool")
    return sum(len(batch) for batch in spool.batches(RECEIVED))


def is_kept(service: Service, data: bytes) -> bool:
    study = read_header(data).study_instance_uid
    return bool(service.store.results.study(study, "north").instances)


def part_head(*headers: str) -> bytes:
    return "\r\n".join([f"--{BOUNDARY}", *headers, "", ""]).encode()


def test_a_connection_that_breaks_leaves_the_whole_films_alone(service: Service) -> None:
    whole, cut = film("broken whole"), film("broken cut")
    before, body = files_in_spool(service), body_of(whole, cut)
    with upload(service, f"Content-Length: {len(body)}") as connection:
        connection.sendall(body[: len(body) - 1000])
        wait_until(lambda: is_kept(service, whole), "the first film is kept")
    assert not is_kept(service, cut)
    assert files_in_spool(service) == before + 1
    assert service.post(whole, cut).status_code == 200
    assert files_in_spool(service) == before + 2


@pytest.mark.parametrize("length", ["10", "100"])
def test_a_length_that_is_too_small_is_refused(service: Service, length: str) -> None:
    data = film(f"short {length}")
    with upload(service, f"Content-Length: {length}", "Connection: close") as connection:
        connection.sendall(body_of(data)[: int(length)])
        assert answer(connection) == "HTTP/1.1 400 Bad Request"
    assert not is_kept(service, data)


def test_two_lengths_are_refused(service: Service) -> None:
    with upload(service, "Content-Length: 10", "Transfer-Encoding: chunked") as connection:
        assert answer(connection) == "HTTP/1.1 400 Bad Request"


def test_a_body_that_stops_is_given_up(service: Service) -> None:
    data = film("stopping")
    started = time.monotonic()
    with upload(service, "Content-Length: 1000000") as connection:
        connection.sendall(body_of(data)[:5000])
        assert answer(connection) == "HTTP/1.1 408 Request Timeout"
    assert STALL_SECONDS <= time.monotonic() - started < STALL_SECONDS + 5
    assert not is_kept(service, data)


def test_a_body_that_crawls_is_given_up(service: Service) -> None:
    body = body_of(film("crawling"))
    with upload(service, "Content-Length: 1000000") as connection:
        connection.settimeout(0.05)
        place, status = 0, ""
        end = time.monotonic() + 10
        while not status and time.monotonic() < end:
            connection.sendall(body[place : place + 10])
            place += 10
            try:
                status = connection.recv(100).decode("latin-1")
            except TimeoutError:
                continue
    assert status.startswith("HTTP/1.1 408")


def test_endless_headers_of_a_part_are_refused(service: Service) -> None:
    with upload(service, "Transfer-Encoding: chunked") as connection:
        line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
        chunk = f"{len(line):x}\r\n".encode() + line + b"\r\n"
        head = f"--{BOUNDARY}\r\n".encode()
        connection.sendall(f"{len(head):x}\r\n".encode() + head + b"\r\n" + chunk * 20)
        connection.sendall(b"0\r\n\r\n")
        assert answer(connection).startswith("HTTP/1.1 413 ")


def test_an_endless_part_is_refused(service: Service) -> None:
    head = part_head("Content-Type: application/dicom")
    block = b"\0" * 65536
    with upload(service, f"Content-Length: {1 << 30}") as connection:
        connection.sendall(head)
        sent, status = 0, ""
        while not status and sent < 200 << 20:
            connection.sendall(block)
            sent += len(block)
            if select.select([connection], [], [], 0)[0]:
                status = answer(connection)
    assert status.startswith("HTTP/1.1 413"), sent


def test_a_hundred_thousand_parts_are_refused(service: Service) -> None:
    part = part_head("Content-Type: application/dicom") + b"x\r\n"
    body = part * 100_000 + f"--{BOUNDARY}--\r\n".encode()
    started = time.monotonic()
    assert service.post_body(body).status_code == 413
    assert time.monotonic() - started < 30


def test_the_pages_answer_while_films_are_uploaded(service: Service) -> None:
    with upload(service, "Content-Length: 900000") as connection:
        connection.sendall(body_of(film("slow"))[:5000])
        pages = service.url.removesuffix("/dicom-web")
        assert httpx.get(f"{pages}/healthz", timeout=5).status_code == 200


def test_more_uploads_than_allowed_are_told_to_wait(service: Service) -> None:
    opened = []
    try:
        for _ in range(4):
            one = upload(service, "Content-Length: 100000")
            connection = one.__enter__()
            opened.append(one)
            connection.sendall(b"--")
        wait_until(
            lambda: service.post(film("fifth")).status_code == 503, "the fifth is told to wait", 5
        )
        assert service.post(film("fifth")).headers["retry-after"] == "5"
    finally:
        for one in opened:
            one.__exit__(None, None, None)
    wait_until(lambda: service.post(film("fifth")).status_code == 200, "the place is free again")


def test_a_full_spool_is_told_with_the_time_to_wait(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(*_: object) -> None:
        raise OutOfSpaceError("no space left")

    monkeypatch.setattr(FolderSpool, "write_together", full)
    data = film("full")
    found = service.post(data)
    assert (found.status_code, found.headers["retry-after"]) == (503, "60")
    (failed,) = found.json()["00081198"]["Value"]
    assert failed["00081197"]["Value"] == [0xA700]
    monkeypatch.undo()
    assert service.post(data).status_code == 200
