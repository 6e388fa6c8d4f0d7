"""Requests to one bucket of an S3 service: retried for a limited time, faults as StorageErrors."""

import contextlib
import functools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from storage.errors import OutOfSpaceError, SpoolError, SpoolUnavailableError
from storage.files.s3.faults import ERRORS, Fault, Kind, fault_of
from storage.files.s3.place import S3Place

MOST_CONNECTIONS = 80
"""Connections that are kept open: more than the associations that a listener takes by default."""
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0

_DEFAULT_REGION = "us-east-1"
"""The region that services without regions take."""
_AT_ONCE = 8
"""Requests of one call that are under way at once."""

_Answer = TypeVar("_Answer")
_Item = TypeVar("_Item")


_session_lock = threading.Lock()
"""Held while a client is made: the session of the library is not thread-safe."""


@functools.cache
def _session(_process: int) -> Any:
    """Return the session of a process, which reads the description of the service only once."""
    return boto3.Session()


class MissingObjectError(Exception):
    """The bucket has no object of this key."""


class ObjectExistsError(Exception):
    """The bucket has an object of this key already."""


class S3Client:
    """Requests to a bucket, for any number of threads. A process makes its own connections.

    The retries of the library are off: they are limited by their number, and here the time counts.
    The sender of an image waits for it no longer than its own timeout.
    """

    def __init__(
        self,
        place: S3Place,
        *,
        timeout_seconds: float | None = None,
        retry_seconds: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """The seconds are those of `place` if they are not given."""
        self._place = place
        self._timeout = place.timeout_seconds if timeout_seconds is None else timeout_seconds
        self._retry = place.retry_seconds if retry_seconds is None else retry_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._made: tuple[int, Any] | None = None

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to an operation of the bucket, for example `put_object`.

        Raises MissingObjectError, ObjectExistsError, OutOfSpaceError or SpoolUnavailableError.
        """
        bucket = self._place.bucket

        def ask() -> dict[str, Any]:
            answer: dict[str, Any] = getattr(self._library, operation)(Bucket=bucket, **arguments)
            return answer

        return self._retried(ask)

    def read(self, key: str, part: str | None = None) -> bytes:
        """Return an object, or a part of it: a range of HTTP. Raises as `call`."""
        limits = {} if part is None else {"Range": part}

        def ask() -> bytes:
            answer = self._library.get_object(Bucket=self._place.bucket, Key=key, **limits)
            with answer["Body"] as body:
                data: bytes = body.read()
            return data

        return self._retried(ask)

    def head(self, key: str) -> dict[str, Any]:
        """Return size, time and ETag of an object. Raises as `call`."""
        return self.call("head_object", Key=key)

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the bucket. Raises as `call`."""
        source = {"Bucket": self._place.bucket, "Key": key}
        self.call("copy_object", Key=target, CopySource=source)

    def remove(self, key: str) -> None:
        """Delete an object; a missing object is not an error."""
        with contextlib.suppress(MissingObjectError):
            self.call("delete_object", Key=key)

    def pages(self, prefix: str, keys: int) -> Iterator[dict[str, Any]]:
        """Yield the list of the objects below a prefix, some keys at a time."""
        more: dict[str, str] = {}
        while True:
            page = self.call("list_objects_v2", Prefix=prefix, MaxKeys=keys, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def close(self) -> None:
        """Close the connections of this process."""
        with self._lock:
            if self._made is not None and self._made[0] == os.getpid():
                self._made[1].close()
            self._made = None

    @property
    def _library(self) -> Any:
        """The client of the library; after a fork a new one, because it holds connections."""
        made = self._made
        if made is not None and made[0] == os.getpid():
            return made[1]
        with self._lock, _session_lock:
            if self._made is None or self._made[0] != os.getpid():
                self._made = os.getpid(), self._make()
            return self._made[1]

    def _make(self) -> Any:
        place = self._place
        session = _session(os.getpid())
        return session.client(
            "s3",
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            region_name=place.region or session.region_name or _DEFAULT_REGION,
            endpoint_url=place.endpoint,
            verify=str(place.ca) if place.ca is not None else None,
            config=Config(
                connect_timeout=self._timeout,
                read_timeout=self._timeout,
                retries={"total_max_attempts": 1},
                max_pool_connections=MOST_CONNECTIONS,
                tcp_keepalive=True,
                # Any service checks the bytes against the digest that the signature covers; the
                # checksums that the library would add are unknown to some.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={
                    "addressing_style": "path" if place.path_style else "auto",
                    "payload_signing_enabled": True,
                },
            ),
        )

    def _retried(self, ask: Callable[[], _Answer]) -> _Answer:
        """Return `ask()`, asked again after a passing fault until the time is over."""
        until = self._monotonic() + self._retry
        wait = _FIRST_WAIT
        while True:
            try:
                return ask()
            except ERRORS as error:
                fault = fault_of(error)
                # Half of the wait is random: many hosts lose a service at the same moment.
                pause = wait * random.uniform(0.5, 1)  # noqa: S311 - no secret
                if fault.kind is not Kind.PASSING or self._monotonic() + pause > until:
                    raise self._raised(fault) from error
            self._sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _raised(self, fault: Fault) -> Exception:
        if fault.kind is Kind.MISSING:
            return MissingObjectError()
        if fault.kind is Kind.EXISTS:
            return ObjectExistsError()
        if fault.kind is Kind.FULL:
            return OutOfSpaceError(
                f"no space left at {self._place}: {fault.reason}: {fault.remedy}"
            )
        return SpoolUnavailableError(
            f"the spool {self._place} is unavailable: {fault.reason}: {fault.remedy}"
        )


def at_once(act: Callable[[_Item], _Answer], items: Sequence[_Item]) -> list[_Answer]:
    """Return the results of several requests, made by some threads.

    After an error the requests that have not begun are not made.
    """
    if len(items) < 2:
        return [act(item) for item in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items)), "s3") as threads:
        futures = [threads.submit(act, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def server_time(answer: dict[str, Any]) -> datetime:
    """Return the time of an answer by the clock of the service. Raises SpoolError without one."""
    text = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(text)
    except ValueError as error:
        raise SpoolError(
            "the S3 service sends no date with its answers: nothing is swept without it"
        ) from error
