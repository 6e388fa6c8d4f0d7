"""Writing an object: at once, or in parts when it is large."""

import base64
import contextlib
import hashlib
from datetime import timedelta
from typing import Any

from storage.errors import SpoolUnavailableError, StorageError
from storage.files.s3.client import MissingObjectError, S3Client, server_time


def put(client: S3Client, key: str, data: bytes, sha256: bytes, part_bytes: int) -> None:
    """Write an object; when this returns the service has all of it, with this digest.

    Raises OutOfSpaceError or SpoolUnavailableError; then an object of this key is unchanged, or it
    is the new one, whose answer was lost.
    """
    if len(data) > part_bytes:
        _put_parts(client, key, data, part_bytes)
    else:
        client.call("put_object", Key=key, Body=data, ChecksumSHA256=_encoded(sha256))


def _put_parts(client: S3Client, key: str, data: bytes, part_bytes: int) -> None:
    upload: dict[str, Any] = {
        "Key": key,
        "UploadId": client.call("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")[
            "UploadId"
        ],
    }
    parts = []
    try:
        for number, start in enumerate(range(0, len(data), part_bytes), 1):
            part = data[start : start + part_bytes]
            checksum = _encoded(hashlib.sha256(part).digest())
            answer = client.call(
                "upload_part", **upload, PartNumber=number, Body=part, ChecksumSHA256=checksum
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
        client.call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
    except MissingObjectError as error:
        # No other writer has this key: the object is that of a request whose answer was lost.
        if not _has(client, key, len(data)):
            raise SpoolUnavailableError(
                "an upload in parts has ended at the service before all of it was written: see the"
                " log of the service"
            ) from error
    except BaseException:
        # The sweep aborts what stays, for example because the service is away.
        with contextlib.suppress(StorageError, MissingObjectError):
            client.call("abort_multipart_upload", **upload)
        raise


def _has(client: S3Client, key: str, size: int) -> bool:
    try:
        return int(client.head(key)["ContentLength"]) == size
    except MissingObjectError:
        return False


def abort_abandoned(client: S3Client, prefix: str, age: timedelta) -> int:
    """Abort the uploads that were begun before this time, by the service's clock; return them."""
    aborted, more = 0, dict[str, str]()
    while True:
        page = client.call("list_multipart_uploads", Prefix=prefix, **more)
        until = server_time(page) - age
        for upload in page.get("Uploads", ()):
            if upload["Initiated"] < until:
                with contextlib.suppress(MissingObjectError):
                    client.call(
                        "abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                aborted += 1
        if not page.get("IsTruncated"):
            return aborted
        more = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
