"""Answers of the DICOMweb service: errors as text, results as DICOM JSON."""

import json
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from daemon.web.access.identity import PREFIX
from dicom_io.dicomweb.attributes import DicomJson
from dicom_io.dicomweb.multipart import DICOM_JSON

PATH = "/dicom-web"
"""The path of the service."""
RETRY_SECONDS = 5
FULL_RETRY_SECONDS = 60
"""Time after which a client may try again on a node without space."""


class DicomwebError(Exception):
    """A request is refused. The text is one sentence for the caller, without patient data."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def busy(message: str, seconds: float = RETRY_SECONDS) -> DicomwebError:
    """Return the refusal of a request that can succeed later."""
    return DicomwebError(503, message, {"Retry-After": str(round(seconds))})


def not_found() -> DicomwebError:
    """Return the one answer for an object that does not exist and for that of another source."""
    return DicomwebError(404, "there is no such object here for this client")


def refused(error: DicomwebError) -> Response:
    """Return the answer to a refused request."""
    return PlainTextResponse(f"{error}\n", error.status, error.headers)


def json_answer(
    found: DicomJson | Sequence[DicomJson],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a data set, or an array of data sets, as DICOM JSON."""
    text = json.dumps(found, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, dict(headers or {}), media_type=DICOM_JSON)


def warning(text: str) -> dict[str, str]:
    """Return the header of a warning (RFC 7234 5.5, as PS3.18 8.3.4.4 uses it)."""
    return {"Warning": f'299 cxrd "{text}"'}


def service_url(request: Request) -> str:
    """Return the URL of the service as the caller reached it, also through a trusted proxy."""
    prefix = request.scope.get(PREFIX, "")
    return f"{request.scope['scheme']}://{request.headers.get('host', '')}{prefix}{PATH}"
