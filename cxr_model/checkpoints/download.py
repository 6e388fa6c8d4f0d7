"""Downloads a file over HTTP: resumes a broken transfer, verifies the file, renames it last."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cxr_model.errors import DownloadError, first_line

_CHUNK = 2**18
_TIMEOUT = 30.0
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True)
class Source:
    """URL of a file, with its `size` in bytes and its `sha256` if they are known."""

    url: str
    size: int | None = None
    sha256: str | None = None


def fetch(
    source: Source, target: Path, *, progress: bool = True, timeout: float = _TIMEOUT
) -> None:
    """Download `source` to `target`; if `target` exists, only verify it.

    Received bytes are stored in ``<target>.part``. A broken connection is resumed by HTTP Range as
    long as each attempt receives bytes; then the next call resumes. The file is renamed to
    `target` after size and sha256 are verified. Without a sha256, the URL must be https.

    Raises DownloadError, in one line, if the server is unavailable, refuses, breaks off or sends
    another file.
    """
    if target.is_file():
        _verify(target, source)
        return
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    if source.size is not None and _length(part) > source.size:
        part.unlink()
    with tqdm(
        desc=target.name[:40], total=source.size, unit="B", unit_scale=True, disable=not progress
    ) as bar:
        _receive(source, part, bar, timeout)
    _verify(part, source)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _receive(source: Source, part: Path, bar: "tqdm[Any]", timeout: float) -> None:
    total = source.size
    while total is None or _length(part) < total:
        before = _length(part)
        reason = "the connection was closed early"
        try:
            total = _attempt(source, part, bar, timeout)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != _RANGE_NOT_SATISFIABLE or not before:
                    raise DownloadError(
                        f"{source.url}: the server answered {error.code} {error.reason}"
                    ) from error
                total = _extent(error.headers.get("Content-Range"))[1]
            if total != before:
                part.unlink()
                total, before = source.size, -1
        except (OSError, http.client.HTTPException) as error:
            reason = _reason(error)
        if _length(part) <= before and (total is None or before < total):
            raise _broken(source, before, total, reason)


def _attempt(source: Source, part: Path, bar: "tqdm[Any]", timeout: float) -> int:
    """Request the missing bytes and append them; return the length of the whole file."""
    have = _length(part)
    headers = {"User-Agent": "cxrd", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if not source.url.startswith(("https://", "http://")):
        raise DownloadError(f"{source.url}: only https and http addresses can be fetched")
    request = urllib.request.Request(source.url, headers=headers)  # noqa: S310  checked above
    with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
        if source.sha256 is None and not answer.url.startswith("https://"):
            raise DownloadError(
                f"{answer.url}: no sha256 is known to hold this file to, and the connection is "
                "not https; name the sha256 it must have"
            )
        start, total = _extent(answer.headers.get("Content-Range"))
        if start is None or start > have:
            start = 0  # the server ignored the range
        if total is None and answer.length is not None:
            total = start + answer.length
        bar.total, bar.n = total, start
        with part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return _length(part) if total is None else total


def _extent(header: str | None) -> tuple[int | None, int | None]:
    """Return the first byte and the whole length of a Content-Range header, None if unknown."""
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return None, None
    start, total = match.groups()
    return (int(start) if start else None), (None if total == "*" else int(total))


def _verify(path: Path, source: Source) -> None:
    found = _length(path)
    if source.size is not None and found != source.size:
        path.unlink()
        raise DownloadError(
            f"{source.url} is not the file it should be: {found} bytes, not {source.size}"
        )
    if source.sha256 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256.lower():
        path.unlink()
        raise DownloadError(
            f"{source.url} is not the file it should be: its sha256 is {digest}, "
            f"not {source.sha256}; it was deleted"
        )


def _broken(source: Source, have: int, total: int | None, reason: str) -> DownloadError:
    if have <= 0:
        return DownloadError(
            f"{source.url} cannot be reached: {reason}; check the network and its proxy, or fetch "
            "the file elsewhere and import it from disk"
        )
    whole = f" of {total / 1e6:.1f}" if total else ""
    return DownloadError(
        f"{source.url} broke off after {have / 1e6:.1f}{whole} MB: {reason}; "
        "the same command goes on from there"
    )


def _reason(error: OSError | http.client.HTTPException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return first_line(cause)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
