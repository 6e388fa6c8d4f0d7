"""Finds the files that `cxrd analyse` was given, and names each in the report."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.batch.csv_report import OUTPUT_FILES, OUTPUT_FOLDERS, cell
from daemon.errors import UsageError

_HIDDEN = "hidden, so not read; name it on the command line to analyse it"
_LINKED_FOLDER = "a link to a folder; name it on the command line to analyse its files"
_SPECIAL = {
    stat.S_IFIFO: "a named pipe, no file",
    stat.S_IFSOCK: "a socket, no file",
    stat.S_IFCHR: "a device, no file",
    stat.S_IFBLK: "a device, no file",
}


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to analyse; `image_id` names it in the report and in `heatmaps/`.

    `not_read` gives the reason against reading it: a named pipe, or hidden; empty for a file.
    """

    path: Path
    image_id: str
    not_read: str = ""


def find_files(paths: Sequence[Path], out: Path) -> list[InputFile]:
    """Return every file at and below `paths`, in a stable order, except a run's output in `out`.

    A file in a directory is named by its path below that directory. Files of one name in several
    directories get the directory's name before it. Hidden files, hidden folders, links to folders
    and what is no file are found but not to be read. A folder below that cannot be listed is found
    with a slash at its end. Raises UsageError for a path that does not exist or cannot be listed,
    for paths without a file, and for files that still have one name.
    """
    named: dict[str, list[_Found]] = defaultdict(list)
    for path in paths:
        for file in _inputs(path, out):
            named[cell(file.image_id)].append(_Found(file, path))
    files: dict[str, InputFile] = {}
    for same_name in named.values():
        for file in _distinct(same_name):
            earlier = files.setdefault(cell(file.image_id), file)
            if earlier is not file:
                raise UsageError(
                    f"{earlier.path} and {file.path} would both be {file.image_id} in the "
                    "report: analyse them into different folders"
                )
    if not files:
        raise UsageError(f"no file found in {', '.join(map(str, paths))}")
    return list(files.values())


@dataclass(frozen=True, slots=True)
class _Found:
    file: InputFile
    below: Path


def _distinct(same_name: Sequence[_Found]) -> Iterator[InputFile]:
    """Yield the files of one name once each, with the given path's name if there are several."""
    if len(same_name) == 1:
        yield same_name[0].file
        return
    distinct: dict[str, _Found] = {}
    for found in same_name:
        place = os.path.realpath(found.file.path)
        if place not in distinct or distinct[place].file.not_read:
            distinct[place] = found
    for found in distinct.values():
        file = found.file
        if len(distinct) > 1:
            folder = found.below if found.below.is_dir() else found.below.parent
            name = _printable(folder.resolve().name)
            file = replace(file, image_id=f"{name}/{file.image_id}")
        yield file


def _inputs(path: Path, out: Path) -> Iterator[InputFile]:
    if path.is_dir():
        for name, not_read in _walk(path, out):
            yield InputFile(path / name, _printable(name), not_read)
    elif path.exists():
        yield InputFile(path, _printable(path.name), _not_a_file(path))
    else:
        raise UsageError(f"{path}: no such file or directory")


def _walk(top: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Yield each file below a folder as its path there and the reason against reading it.

    Folders that cannot be listed come last; reading one fails, which gives it a row.
    """
    output = os.path.realpath(out)
    unlisted: list[Path] = []

    def on_error(error: OSError) -> None:
        if Path(error.filename) == top:
            raise UsageError(f"{error.filename}: {error.strerror}; nothing was analysed") from error
        unlisted.append(Path(error.filename))

    for root, folders, names in os.walk(top, onerror=on_error):
        here = Path(root)
        relative = here.relative_to(top)
        is_output = os.path.realpath(here) == output
        entries = {name: _not_read(here / name) for name in names}
        if is_output:
            entries = {name: why for name, why in entries.items() if not _is_output(name)}
        walked = []
        for name in sorted(folders):
            if name.startswith("."):
                entries[f"{name}/"] = "hidden, so its files are not read"
            elif (here / name).is_symlink():
                entries[f"{name}/"] = _LINKED_FOLDER
            elif not (is_output and name in OUTPUT_FOLDERS):
                walked.append(name)
        folders[:] = walked
        for name, not_read in sorted(entries.items()):
            # A joined path would lose the slash of a folder.
            yield name if here == top else f"{relative.as_posix()}/{name}", not_read
    for folder in unlisted:
        yield f"{folder.relative_to(top).as_posix()}/", ""


def _is_output(name: str) -> bool:
    """Return True for a file that a run writes beside its pictures, also while it is written."""
    return any(name == file or name.startswith(f".{file}.") for file in OUTPUT_FILES)


def _not_read(path: Path) -> str:
    return _HIDDEN if path.name.startswith(".") else _not_a_file(path)


def _not_a_file(path: Path) -> str:
    """Return an empty text for a file, and for a path of unknown kind, such as a broken link."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return "" if stat.S_ISREG(mode) else _SPECIAL.get(stat.S_IFMT(mode), "no file")


def _printable(name: str) -> str:
    """Return the name with escapes for line breaks, control characters and undecodable bytes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name
    )
