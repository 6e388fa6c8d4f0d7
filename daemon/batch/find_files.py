"""Finds the files that `cxrd analyse` reads, and names each in the report."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.batch.csv_report import cell
from daemon.errors import UsageError

RASTER_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})

# PS3.10 section 7.1: 128 bytes of preamble, then the prefix.
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to analyse; `image_id` names it in the report and in `heatmaps/`."""

    path: Path
    image_id: str

    @property
    def is_raster(self) -> bool:
        """True if the name ends as that of a PNG or JPEG; every other file counts as DICOM."""
        return self.path.suffix.lower() in RASTER_SUFFIXES


def find_files(paths: Sequence[Path], leave_out: Path) -> list[InputFile]:
    """Return every image below `paths`, in a stable order, except those in folder `leave_out`.

    A file in a directory is named by its path below that directory. Hidden files and links to
    directories are skipped. Raises UsageError for a path that does not exist or cannot be listed,
    for paths without an image, and for two files of one name.
    """
    found: dict[str, InputFile] = {}
    for path in paths:
        for file in _inputs(path, leave_out.resolve()):
            earlier = found.setdefault(cell(file.image_id), file)
            if earlier.path != file.path and earlier.path.resolve() != file.path.resolve():
                raise UsageError(
                    f"{earlier.path} and {file.path} would both be {file.image_id} in the "
                    "report: analyse them into different folders"
                )
    if not found:
        raise UsageError("no image found; looked for DICOM, PNG and JPEG files")
    return list(found.values())


def _inputs(path: Path, leave_out: Path) -> Iterator[InputFile]:
    if path.is_file():
        yield InputFile(path, _printable(path.name))
    elif path.is_dir():
        for file in _walk(path, leave_out):
            yield InputFile(file, _printable(file.relative_to(path).as_posix()))
    else:
        raise UsageError(f"{path}: no such file or directory")


def _walk(folder: Path, leave_out: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, onerror=_not_listed):
        here = Path(root)
        kept = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in kept if (here / name).resolve() != leave_out]
        for name in sorted(names):
            if not name.startswith(".") and _is_image(here / name):
                yield here / name


def _is_image(path: Path) -> bool:
    """Return True for the name of an image (a UID ends in a number), or the DICOM prefix."""
    if path.exists() and not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix in RASTER_SUFFIXES | DICOM_SUFFIXES or not suffix or suffix[1:].isdigit():
        return True
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE_BYTES + len(_PREFIX))[_PREAMBLE_BYTES:] == _PREFIX
    except OSError:
        return False


def _printable(name: str) -> str:
    """Return the name with escapes for line breaks, control characters and undecodable bytes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name
    )


def _not_listed(error: OSError) -> None:
    raise UsageError(f"{error.filename}: {error.strerror}; nothing was analysed") from error
