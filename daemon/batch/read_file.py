"""Reads a file that `cxrd analyse` was given: its kind, its identifiers, and its film or a refusal.

Only the decoder process unpacks and decodes; this process reads the identifiers of a header.
"""

from dataclasses import dataclass

from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import FULL_SIZE, Film, Refusal, Wanted
from daemon.analyse.reader.film_file import Form, unpack_start
from daemon.batch.csv_report import HEADER, IDENTIFIERS
from daemon.batch.find_files import InputFile
from daemon.batch.recognise import PICTURE_SUFFIXES, START_BYTES, recognise
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import Rules
from dicom_io.read.header import read_identifiers

_MAX_BYTES = 2**30
"""A larger file is no film, and reading it would exhaust the memory."""
_UNPACKED_BYTES = 1 << 24
"""Bytes of a gzipped object that are unpacked for its identifiers."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file with its film or refusal.

    `identifiers` and `header` are empty, or in the order of `IDENTIFIERS` and `HEADER`.
    """

    file: InputFile
    film: Film | Refusal
    identifiers: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


def read_file(
    pipeline: Pipeline, rules: Rules, file: InputFile, wanted: Wanted = FULL_SIZE
) -> ReadFile:
    """Read, gate, decode and check a file. Never raises: an unexpected error is a refusal."""
    if file.not_read:
        return ReadFile(file, Refusal(Reason.UNSUPPORTED_FILE, file.not_read))
    values: tuple[str, ...] = ()
    try:
        form, data = _content(file)
        if isinstance(form, Refusal):
            return ReadFile(file, form)
        if form is not Form.PICTURE:
            start = unpack_start(data, _UNPACKED_BYTES) if form is Form.PACKED_OBJECT else data
            values = read_identifiers(start, (*IDENTIFIERS, *HEADER))
        film = pipeline.read(data, rules, form, wanted)
    except OSError as error:
        film = Refusal(_unreadable(file), error.strerror or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - a bad file must not stop the rest
        film = failed(error)
    return ReadFile(file, film, values[: len(IDENTIFIERS)], values[len(IDENTIFIERS) :])


def failed(error: Exception) -> Refusal:
    """Return the refusal for an unexpected error."""
    return Refusal(Reason.ANALYSIS_FAILED, f"{type(error).__name__}: {error}")


def _content(file: InputFile) -> tuple[Form | Refusal, bytes]:
    """Return the form and the bytes of a file; of a file that is not read, not the bytes."""
    with file.path.open("rb") as stream:
        form = recognise(file.path.name, stream.read(START_BYTES))
        if isinstance(form, Refusal):
            return form, b""
        stream.seek(0)
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        return Refusal(_unreadable(file), f"larger than {_MAX_BYTES // 2**30} GiB"), b""
    return form, data


def _unreadable(file: InputFile) -> Reason:
    if file.path.suffix.lower() in PICTURE_SUFFIXES:
        return Reason.UNDECODABLE_PIXELS
    return Reason.UNREADABLE_OBJECT
