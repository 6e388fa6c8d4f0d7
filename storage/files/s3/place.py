"""The place of a spool in a bucket; it loads no library."""

from dataclasses import dataclass, field
from pathlib import Path

PART_BYTES = 64 * 2**20
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket of an S3 service, and the way to it.

    Attributes:
        prefix: first part of every key, without a slash at its ends; may be empty.
        endpoint: URL of the service; None for AWS.
        access_key: with `secret_key`; None for the credentials that the host itself has.
        ca: file of the CAs that sign the certificate of the service; None for the public ones.
        path_style: True to name the bucket in the path, not in the name of the host.
        timeout_seconds: time limit for a connection, and for each wait for data.
        retry_seconds: time for which a request is tried again.
        part_bytes: larger objects are written in parts of this size.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    path_style: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    retry_seconds: float = RETRY_SECONDS
    part_bytes: int = PART_BYTES

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")
