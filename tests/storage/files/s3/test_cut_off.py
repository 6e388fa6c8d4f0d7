"""A spool whose service is cut off, stopped or slow: files are complete or absent, none is lost."""

import os
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from storage.errors import SpoolUnavailableError
from tests.builders.stores.bucket import Bucket

pytestmark = pytest.mark.network

PATH = "received/ab/x.dcm"
FILM = os.urandom(2**20)


def test_a_write_that_is_cut_in_its_middle_leaves_the_file_as_it_was(bucket: Bucket) -> None:
    spool = bucket.spool(retry_seconds=0)
    kept = spool.write(PATH, b"as it was")
    bucket.proxy.cut_after(len(FILM) // 2)
    with pytest.raises(SpoolUnavailableError):
        spool.write(PATH, FILM)
    bucket.proxy.resume()
    assert spool.read(PATH, kept.sha256) == b"as it was"
    assert spool.read(PATH, spool.write(PATH, FILM).sha256) == FILM


def test_a_read_that_is_cut_in_its_middle_is_no_damaged_file(bucket: Bucket) -> None:
    spool = bucket.spool(retry_seconds=0)
    sha256 = spool.write(PATH, FILM).sha256
    bucket.proxy.cut_after(len(FILM) // 2)
    with pytest.raises(SpoolUnavailableError):
        spool.read(PATH, sha256)
    bucket.proxy.resume()
    assert spool.read(PATH, sha256) == FILM
    spool.verify(PATH, sha256)


def test_a_short_cut_is_bridged_by_retries(bucket: Bucket) -> None:
    spool = bucket.spool(retry_seconds=20)
    bucket.proxy.cut_after(len(FILM) // 2)
    resuming = threading.Timer(0.6, bucket.proxy.resume)
    resuming.start()
    stored = spool.write(PATH, FILM)
    resuming.join()
    assert spool.read(PATH, stored.sha256) == FILM


def test_a_stopped_service_is_waited_for_and_then_unavailable(bucket: Bucket) -> None:
    patient, hasty = bucket.spool(), bucket.spool(timeout_seconds=0.4, retry_seconds=0)
    sha256 = patient.write(PATH, FILM).sha256
    with bucket.server.paused():
        began = time.monotonic()
        for use in (lambda: hasty.read(PATH, sha256), lambda: hasty.write(PATH, FILM)):
            with pytest.raises(SpoolUnavailableError, match="does not answer in time"):
                use()
        assert time.monotonic() - began < 5
        writing = threading.Thread(target=patient.write, args=("received/ab/y.dcm", FILM))
        writing.start()
    writing.join()
    assert hasty.read("received/ab/y.dcm", sha256) == FILM


@pytest.mark.parametrize("is_made", [True, False])
def test_an_upload_that_has_ended_is_a_fault_only_without_its_object(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, is_made: bool
) -> None:
    """After a lost answer the service says of a second request that no upload is there."""
    spool = bucket.spool(part_bytes=5 * 2**20, retry_seconds=5)
    library = spool._client._library
    complete, calls = library.complete_multipart_upload, []

    def loses_an_answer(**arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise ClientError(
                {
                    "Error": {"Code": "NoSuchUpload"},
                    "ResponseMetadata": {"HTTPStatusCode": 404},
                },
                "CompleteMultipartUpload",
            )
        if is_made:
            complete(**arguments)
        raise ConnectionClosedError(endpoint_url="")

    monkeypatch.setattr(library, "complete_multipart_upload", loses_an_answer)
    large = os.urandom(5 * 2**20 + 100)
    if is_made:
        assert spool.read(PATH, spool.write(PATH, large).sha256) == large
    else:
        with pytest.raises(SpoolUnavailableError, match="has ended"):
            spool.write(PATH, large)
    assert len(calls) == 2


def test_a_large_object_is_written_in_parts_and_none_is_left_of_a_cut_one(bucket: Bucket) -> None:
    part = 5 * 2**20
    spool = bucket.spool(part_bytes=part, retry_seconds=0)
    large = os.urandom(2 * part + 100)
    stored = spool.write(PATH, large)
    assert spool.read(PATH, stored.sha256) == large
    assert [len(chunk) for chunk in spool.chunks(PATH)] == [part, part, 100]
    spool.verify(PATH, stored.sha256)

    bucket.proxy.cut_after(part + part // 2)
    with pytest.raises(SpoolUnavailableError):
        spool.write("received/ab/cut.dcm", large)
    bucket.proxy.resume()
    assert not spool.exists("received/ab/cut.dcm")
    assert bucket.spool(upload_seconds=1e10).sweep_temporary() == 0
    # The server of the tests says of every upload that it was begun years ago.
    assert spool.sweep_temporary() == 1
    assert spool.sweep_temporary() == 0
    assert spool.read(PATH, stored.sha256) == large


def test_threads_and_a_forked_process_share_a_spool(bucket: Bucket) -> None:
    spool = bucket.spool()
    paths = [f"received/ab/{number}.dcm" for number in range(20)]
    threads = [threading.Thread(target=spool.write, args=(path, FILM)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sha256 = spool.digest(paths[0])
    child = os.fork()
    if not child:
        own = 0 if spool.read(paths[1], sha256) == FILM else 1
        os._exit(own)
    assert os.waitpid(child, 0)[1] == 0
    assert all(spool.read(path, sha256) == FILM for path in paths)
