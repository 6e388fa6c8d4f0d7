"""WADO-RS (PS3.18 10.4): instances, their metadata, bulk data, frames and pictures."""

import functools
import re
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.web.dicomweb.accept import (
    ANY,
    EXPLICIT,
    Wanted,
    takes_json,
    wanted_bytes,
    wanted_files,
    wanted_picture,
)
from daemon.web.dicomweb.answers import DicomwebError, busy, json_answer, not_found, service_url
from daemon.web.dicomweb.catalogue import Catalogue
from daemon.web.dicomweb.transfer import (
    MakePart,
    PartResponse,
    PartsResponse,
    TransferResponse,
    Transfers,
)
from daemon.web.films.readers import FilmReaders
from daemon.web.problems import BusyError
from daemon.worker.logs.setup import silence_libraries
from dicom_io.dicomweb.multipart import DICOM_FILE, DICOM_JSON, Part, new_boundary, related
from dicom_io.errors import DicomError, NotDicomError
from storage.offered.records import OfferedInstance

OCTETS = "application/octet-stream"
PNG, JPEG = "image/png", "image/jpeg"
MOST_METADATA = 2000
"""Instances whose metadata one answer may hold."""
_MOST_FRAMES = 1000
_LONGEST_SIDE = 4096
"""Most pixels of the longer side of a rendered film."""
_FRAMES = re.compile(r"\d{1,6}(,\d{1,6})*")
_BULK = re.compile(r"([0-9A-Fa-f]{8}/\d{1,6}/){0,32}[0-9A-Fa-f]{8}")
_CONVERTED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"})
"""Implicit VR Little Endian and its deflated relative, sent as EXPLICIT to those who want that."""
_FRAME_TYPES = {
    EXPLICIT: OCTETS,
    "1.2.840.10008.1.2.4.50": JPEG,
    "1.2.840.10008.1.2.4.51": JPEG,
    "1.2.840.10008.1.2.4.57": JPEG,
    "1.2.840.10008.1.2.4.70": JPEG,
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""The media types of compressed frames (PS3.18 table 8.7.3-2)."""


class Retrievals:
    """Answers retrievals. Each waits for the store and for files, so it runs in a thread."""

    def __init__(self, catalogue: Catalogue, readers: FilmReaders) -> None:
        self._catalogue = catalogue
        self._readers = readers
        self.transfers = Transfers()

    def files(
        self, request: Request, client: DicomwebClientConfig, path: Sequence[str]
    ) -> tuple[Response, list[OfferedInstance]]:
        """Return the instances of a study, a series or an instance as DICOM files.

        `path` has the UIDs. Instances that cannot be had in the form that the caller wants are left
        out, with status 206. Raises DicomwebError or StorageError.
        """
        found = self._catalogue.find(client.sources, *path)
        wanted = wanted_files(_accept(request), one_instance=len(path) == 3)
        fitting = [one for one in found if wanted is not None and _fits(one, wanted)]
        if wanted is None or not fitting:
            syntaxes = ", ".join(sorted({one.transfer_syntax_uid for one in found}))
            raise DicomwebError(
                406,
                f'accept multipart/related; type="{DICOM_FILE}"; transfer-syntax=* (the files are'
                f" stored in {syntaxes})",
            )
        makers = [functools.partial(self._file_part, one, wanted) for one in fitting]
        if wanted.is_single:
            return self._sent(lambda: PartResponse(makers[0](), self.transfers)), fitting
        status = 200 if len(fitting) == len(found) else 206
        return self._parts(makers, DICOM_FILE, status), fitting

    def metadata(
        self, request: Request, client: DicomwebClientConfig, path: Sequence[str]
    ) -> tuple[Response, list[OfferedInstance]]:
        """Return the metadata of a study, a series or an instance. Raises as `files` does."""
        if not takes_json(_accept(request)):
            raise DicomwebError(406, f"metadata is {DICOM_JSON}: accept it")
        found = self._catalogue.find(client.sources, *path)
        if len(found) > MOST_METADATA:
            raise DicomwebError(413, "the study has too many instances: ask for one series")
        from dicom_io.dicomweb.json_model import metadata

        silence_libraries()
        if not self.transfers.begin():
            raise busy("other answers are being made: try again in some seconds")
        try:
            results = []
            for one in found:
                url = f"{service_url(request)}{_path_of(one)}/bulkdata/"
                results.append(metadata(self._read(one), functools.partial(_joined, url)))
        finally:
            self.transfers.end()
        return json_answer(results), found

    def bulk_data(
        self, request: Request, client: DicomwebClientConfig, path: Sequence[str], element: str
    ) -> tuple[Response, list[OfferedInstance]]:
        """Return the bytes of one element. Raises as `files` does."""
        if _BULK.fullmatch(element) is None:
            raise not_found()
        found = self._catalogue.find(client.sources, *path)
        if wanted_bytes(_accept(request), (OCTETS,)) is None:
            raise DicomwebError(406, f'bulk data is multipart/related; type="{OCTETS}": accept it')
        from dicom_io.dicomweb.json_model import bulk_data

        silence_libraries()
        try:
            data = bulk_data(self._read(found[0]), element)
        except NotDicomError:
            raise not_found() from None
        url = f"{service_url(request)}{_path_of(found[0])}/bulkdata/{element}"
        part = Part.of(data, OCTETS, url)
        return self._parts([lambda: part], OCTETS), found

    def frames(
        self, request: Request, client: DicomwebClientConfig, path: Sequence[str], listed: str
    ) -> tuple[Response, list[OfferedInstance]]:
        """Return frames as they are stored. Raises as `files` does."""
        if _FRAMES.fullmatch(listed) is None:
            raise DicomwebError(400, "the frames are numbers from 1, with commas between them")
        numbers = [int(one) for one in listed.split(",")]
        if len(numbers) > _MOST_FRAMES:
            raise DicomwebError(400, f"ask for at most {_MOST_FRAMES} frames")
        if len(set(numbers)) < len(numbers):
            raise DicomwebError(400, "a frame is named twice")
        found = self._catalogue.find(client.sources, *path)
        from dicom_io.dicomweb.json_model import NotEncodedSoError, frames

        silence_libraries()
        try:
            data, syntax = frames(self._read(found[0]), numbers)
        except NotEncodedSoError as error:
            raise DicomwebError(406, f"frames cannot be sent: {error}") from None
        except NotDicomError:
            raise not_found() from None
        kind = _FRAME_TYPES.get(syntax, OCTETS)
        if wanted_bytes(_accept(request), (kind,)) is None:
            raise DicomwebError(
                406,
                f'the frames are stored as {kind}: accept multipart/related; type="{kind}"',
            )
        parts = [Part.of(one, f"{kind}; transfer-syntax={syntax}") for one in data]
        return self._parts([functools.partial(_itself, part) for part in parts], kind), found

    def rendered(
        self, request: Request, client: DicomwebClientConfig, path: Sequence[str]
    ) -> tuple[Response, list[OfferedInstance]]:
        """Return the film as the pages show it, a PNG. Raises as `files` does."""
        found = self._catalogue.find(client.sources, *path)
        if wanted_picture(_accept(request), (PNG,)) is None:
            raise DicomwebError(406, f"a rendered film is {PNG}: accept it")
        return Response(self._picture(found[0]), media_type=PNG), found

    def _picture(self, instance: OfferedInstance) -> bytes:
        """Return a film display-true, or a picture made here as it is in its object, as a PNG.

        The reader processes of the pages decode it. The first use loads numpy.
        """
        from daemon.analyse.png import encode_png
        from daemon.analyse.reader.look import Look, LookKind, Picture

        kind = LookKind.PICTURE if instance.kind is None else LookKind.AS_STORED
        try:
            seen = self._readers.look(self._read(instance), Look(kind, _LONGEST_SIDE))
        except BusyError as error:
            raise busy(str(error)) from None
        if not isinstance(seen, Picture):
            raise DicomwebError(406, "the object has no pixels that can be shown")
        return encode_png(seen.pixels)

    def _parts(self, makers: Sequence[MakePart], kind: str, status: int = 200) -> Response:
        boundary = new_boundary()
        first, *others = makers
        content_type = related(kind, boundary)
        return self._sent(
            lambda: PartsResponse(
                first(), others, boundary, content_type, self.transfers, status=status
            )
        )

    def _sent(self, make: Callable[[], TransferResponse]) -> Response:
        """Return an answer that holds a place until it is sent. Raises DicomwebError."""
        if not self.transfers.begin():
            raise busy("other answers are being sent: try again in some seconds")
        try:
            return make()
        except BaseException:
            self.transfers.end()
            raise

    def _file_part(self, instance: OfferedInstance, wanted: Wanted) -> Part:
        data, syntax = self._read(instance), instance.transfer_syntax_uid
        if not wanted.syntaxes & {ANY, syntax}:
            from dicom_io.dicomweb.json_model import explicit_little_endian

            silence_libraries()
            try:
                data, syntax = explicit_little_endian(data, syntax), EXPLICIT
            except DicomError as error:
                raise DicomwebError(406, f"an object cannot be converted: {error}") from None
        return Part.of(data, f"{DICOM_FILE}; transfer-syntax={syntax}")

    def _read(self, instance: OfferedInstance) -> bytes:
        return self._catalogue.read(instance)


def _fits(instance: OfferedInstance, wanted: Wanted) -> bool:
    if wanted.syntaxes & {ANY, instance.transfer_syntax_uid}:
        return True
    return EXPLICIT in wanted.syntaxes and instance.transfer_syntax_uid in _CONVERTED


def _accept(request: Request) -> str:
    """Return the accepted types; a query parameter is for callers that set no headers (8.3.3.1)."""
    return request.query_params.get("accept") or request.headers.get("accept", "")


def _path_of(one: OfferedInstance) -> str:
    return (
        f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        f"/instances/{one.sop_instance_uid}"
    )


def _joined(url: str, path: str) -> str:
    return url + path


def _itself(part: Part) -> Part:
    return part
