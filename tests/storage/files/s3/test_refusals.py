"""Answers of an S3 service: what each means for the node, and what is tried again."""

import contextlib
import http
from collections.abc import Callable, Iterator

import pytest

from storage.errors import IntegrityError, OutOfSpaceError, SpoolUnavailableError, StorageError
from storage.files.s3.place import S3Place
from storage.files.s3.s3_spool import S3Spool
from tests.servers.plain.scripted_s3 import Refusal, ScriptedS3, Sent, scripted_s3
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY
from tests.tools.ports import free_port

pytestmark = pytest.mark.network

PATH = "received/ab/x.dcm"
FULL = (
    Refusal(507, "InsufficientStorage"),
    Refusal(507, "XMinioStorageFull"),
    Refusal(403, "QuotaExceeded"),
    Refusal(400, "EntityTooLarge"),
    Refusal(403, "AccessDenied", "the write exceeds the quota of the bucket"),
    Refusal(400, "XMinioAdminBucketQuotaExceeded"),
)
REFUSED = {
    "AccessDenied": (Refusal(403, "AccessDenied"), "the rights to list, get, put and delete"),
    "InvalidAccessKeyId": (Refusal(403, "InvalidAccessKeyId"), "correct spool.access_key"),
    "SignatureDoesNotMatch": (Refusal(403, "SignatureDoesNotMatch"), "correct spool.access_key"),
    "NoSuchBucket": (Refusal(404, "NoSuchBucket"), "make the bucket, or correct spool.url"),
    "PermanentRedirect": (Refusal(301, "PermanentRedirect"), "set spool.region"),
    "RequestTimeTooSkewed": (Refusal(403, "RequestTimeTooSkewed"), "the clock of this host"),
    "SlowDown": (Refusal(503, "SlowDown"), "see the log of the service"),
    "InternalError": (Refusal(500, "InternalError"), "see the log of the service"),
}


@pytest.fixture
def service() -> Iterator[ScriptedS3]:
    with scripted_s3() as running:
        yield running


@pytest.fixture
def spool(service: ScriptedS3) -> Iterator[S3Spool]:
    place = S3Place(
        "films",
        endpoint=service.endpoint,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        path_style=True,
        timeout_seconds=5,
        retry_seconds=0.7,
    )
    with contextlib.closing(S3Spool(place)) as opened:
        opened.make()
        yield opened


USES: dict[str, Callable[[S3Spool, str], object]] = {
    "write": lambda spool, _: spool.write(PATH, b"y"),
    "read": lambda spool, sha256: spool.read(PATH, sha256),
    "size": lambda spool, _: spool.size(PATH),
    "exists": lambda spool, _: spool.exists(PATH),
    "delete": lambda spool, _: spool.delete(PATH),
}


@pytest.mark.parametrize("refusal", FULL, ids=lambda refusal: refusal.code)
def test_a_full_service_is_out_of_space_and_nothing_is_tried_again(
    service: ScriptedS3, spool: S3Spool, refusal: Refusal
) -> None:
    service.requests.clear()
    service.answers.append(refusal)
    with pytest.raises(OutOfSpaceError, match=refusal.code) as caught:
        spool.write(PATH, b"x")
    assert caught.value.retryable
    assert service.requests == ["PUT"]
    spool.write(PATH, b"x")


@pytest.mark.parametrize("refusal", REFUSED)
def test_a_refusal_makes_the_spool_unavailable_and_names_the_remedy(
    service: ScriptedS3, spool: S3Spool, refusal: str
) -> None:
    sha256 = spool.write(PATH, b"x").sha256
    answer, remedy = REFUSED[refusal]
    # The library asks for the region of the bucket after a redirection, and gets no answer to that.
    service.answers.extend([answer, Refusal(404, "NotFound"), *[answer] * 20])
    if answer.status != http.HTTPStatus.MOVED_PERMANENTLY:
        service.always = answer
    with pytest.raises(SpoolUnavailableError, match=f"{refusal}.*{remedy}") as caught:
        spool.write(PATH, b"y")
    assert "\n" not in str(caught.value)
    service.always = None
    service.answers.clear()
    assert spool.read(PATH, sha256) == b"x"


@pytest.mark.parametrize("use", USES)
def test_no_use_of_a_refused_spool_takes_a_file_for_missing(
    service: ScriptedS3, spool: S3Spool, use: str
) -> None:
    sha256 = spool.write(PATH, b"x").sha256
    service.always = Refusal(403, "AccessDenied")
    with pytest.raises(SpoolUnavailableError):
        USES[use](spool, sha256)
    assert spool.mark(PATH) is None


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_fault_is_tried_again(service: ScriptedS3, spool: S3Spool, status: int) -> None:
    service.requests.clear()
    service.answers.extend([Refusal(status, "SlowDown")] * 2)
    sha256 = spool.write(PATH, b"x").sha256
    assert service.requests == ["PUT"] * 3
    service.answers.append(Refusal(status, "SlowDown"))
    assert spool.read(PATH, sha256) == b"x"


def test_bytes_that_were_altered_on_their_way_are_read_again(
    service: ScriptedS3, spool: S3Spool
) -> None:
    sha256 = spool.write(PATH, b"as it was").sha256
    altered = Sent(b"as it saw", 9)
    service.answers.append(altered)
    assert spool.read(PATH, sha256) == b"as it was"
    service.answers.extend([altered, altered])
    with pytest.raises(IntegrityError, match="has changed since it was written"):
        spool.read(PATH, sha256)


def test_a_short_answer_is_a_fault_of_the_network(service: ScriptedS3, spool: S3Spool) -> None:
    sha256 = spool.write(PATH, b"as it was").sha256
    service.answers.append(Sent(b"as it", 9))
    assert spool.read(PATH, sha256) == b"as it was"
    service.answers.extend([Sent(b"as it", 9)] * 20)
    with pytest.raises(SpoolUnavailableError, match="connection broke"):
        spool.read(PATH, sha256)


def test_without_its_marker_a_bucket_has_no_missing_file(
    service: ScriptedS3, spool: S3Spool
) -> None:
    with pytest.raises(IntegrityError, match="is missing: restore it"):
        spool.size(PATH)
    service.objects.clear()
    with pytest.raises(SpoolUnavailableError, match=r"cxrd-spool is missing: correct spool.url"):
        spool.size(PATH)


def test_a_spool_with_another_id_is_not_written_to(service: ScriptedS3, spool: S3Spool) -> None:
    sha256 = spool.write(PATH, b"x").sha256
    spool.expect("1" * 32)
    for use in (lambda: spool.write(PATH, b"y"), lambda: spool.size("received/ab/none")):
        with pytest.raises(SpoolUnavailableError, match="has the id of none, the store names 1"):
            use()
    spool.expect("")
    assert spool.read(PATH, sha256) == b"x"


def test_a_connection_is_used_again(service: ScriptedS3, spool: S3Spool) -> None:
    for number in range(10):
        spool.write(f"received/ab/{number}.dcm", b"x")
    assert service.connections == 1


def test_a_folder_that_is_no_service_is_reported_on_one_line() -> None:
    place = S3Place(
        "films",
        endpoint=f"http://127.0.0.1:{free_port()}",
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        retry_seconds=0,
        timeout_seconds=1,
    )
    with pytest.raises(StorageError, match=r"cannot be reached: check spool.endpoint") as caught:
        S3Spool(place).make()
    assert "\n" not in str(caught.value)
