"""Faults of an S3 service: the meaning of its answers, and the remedy."""

import enum
import http.client
from typing import NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from urllib3.exceptions import HTTPError as TransportError


class Kind(enum.Enum):
    """The meaning of a fault.

    Attributes:
        MISSING: the service answers, and has no object of this key, or no such upload.
        FULL: the quota or the disk of the service is full.
        PASSING: a retry within seconds may succeed.
        LASTING: an operator has to act.
        EXISTS: an object of this key is there, and only a new one was to be written.
    """

    MISSING = enum.auto()
    FULL = enum.auto()
    PASSING = enum.auto()
    LASTING = enum.auto()
    EXISTS = enum.auto()


class Fault(NamedTuple):
    """Kind, reason and remedy of a fault."""

    kind: Kind
    reason: str
    remedy: str


_MISSING = frozenset({"NoSuchKey", "NoSuchUpload", "NotFound", "404"})
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_FULL = frozenset(
    {
        "507",
        "EntityTooLarge",
        "InsufficientStorage",
        "InsufficientCapacity",
        "MaxMessageLengthExceeded",
        "NotEnoughSpace",
        "OutOfSpace",
        "QuotaExceeded",
        "QuotaExceededException",
        "ServiceQuotaExceeded",
        "StorageFull",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
    }
)
_PASSING = frozenset(
    {
        "429",
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "XMinioServerNotInitialized",
    }
)
_WRONG_KEY = "correct spool.access_key and its secret, or the credentials of this host"
_RIGHTS = "give the key the rights to list, get, put and delete that docs/operations.md names"
_WRONG_REGION = "set spool.region to the region of the bucket"
_NO_BUCKET = "make the bucket, or correct spool.url"
_CLOCK = "set the clock of this host by NTP"
_HINTS = {
    "301": _WRONG_REGION,
    "403": _RIGHTS,
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "ExpiredToken": _WRONG_KEY,
    "IllegalLocationConstraintException": _WRONG_REGION,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidBucketName": _NO_BUCKET,
    "InvalidToken": _WRONG_KEY,
    "NoSuchBucket": _NO_BUCKET,
    "PermanentRedirect": _WRONG_REGION,
    "RequestExpired": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
    "SignatureDoesNotMatch": _WRONG_KEY,
}
_NETWORK = "check spool.endpoint, the network and the service"
_PASSES = (
    BotoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    TransportError,
    http.client.HTTPException,
    OSError,
)
ERRORS = (BotoCoreError, ClientError, TransportError, http.client.HTTPException, OSError)
"""The exceptions by which the client library reports a fault of the service or the network."""


def fault_of(error: Exception) -> Fault:
    """Return the fault that an exception of ERRORS reports. The reason is one line."""
    if isinstance(error, ClientError):
        return _fault_of_answer(error)
    if isinstance(error, SSLError):
        return Fault(Kind.LASTING, _line(error), "set spool.ca to the CA of the service")
    if isinstance(error, EndpointConnectionError):
        return Fault(Kind.PASSING, "the service cannot be reached", _NETWORK)
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return Fault(Kind.PASSING, "the service does not answer in time", _NETWORK)
    if isinstance(error, _PASSES):
        return Fault(Kind.PASSING, f"the connection broke ({type(error).__name__})", _NETWORK)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Fault(
            Kind.LASTING,
            "this host has no credentials",
            "set spool.access_key and its secret, or give this host a role",
        )
    return Fault(Kind.LASTING, _line(error), _WRONG_KEY)


def _fault_of_answer(error: ClientError) -> Fault:
    answer = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = _line(answer.get("Error", {}).get("Message") or "")
    reason = f"it answered {status} {code}" + (f" ({message})" if message else "")
    # Some services refuse a write beyond the quota as 403 AccessDenied and say so in words.
    is_full = code in _FULL or status == http.HTTPStatus.INSUFFICIENT_STORAGE
    if is_full or (400 <= status < 500 and "quota" in message.casefold()):
        return Fault(Kind.FULL, reason, "raise its quota or free some, then it is tried again")
    if code in _MISSING:
        return Fault(Kind.MISSING, reason, "")
    if code in _EXISTS:
        return Fault(Kind.EXISTS, reason, "")
    if code in _PASSING or status == http.HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        return Fault(Kind.PASSING, reason, "see the log of the service")
    return Fault(Kind.LASTING, reason, _HINTS.get(code, "see the log of the service"))


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]
