"""The heatmap files of `cxrd analyse`: their names, and writing those of several films together."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from daemon.batch.csv_report import HEATMAP_FOLDER
from daemon.batch.find_files import InputFile
from storage.files.durable import storage_errors, sync_folder

_LONGEST_NAME_BYTES = 180


def heatmap_name(file: InputFile, label: str) -> str:
    """Return the path of a heatmap below the output folder."""
    folder, slash, name = file.image_id.rpartition("/")
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME_BYTES:
        start = encoded[: _LONGEST_NAME_BYTES - 17].decode(errors="ignore")
        name = f"{start}-{hashlib.sha256(encoded).hexdigest()[:16]}"
    return f"{HEATMAP_FOLDER}/{folder}{slash}{name}.{label}.png"


def write_together(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write files that are complete or absent, whenever the process is killed or the power fails.

    All are written before the first is synced, so that the disk writes them together. A temporary
    name is always the same, so that the next run replaces a leftover of a kill. Raises
    StorageError, and leaves no temporary file then.
    """
    with ExitStack() as opened:
        written = []
        for path, data in files:
            temporary = path.with_name(f".{path.name}.tmp")
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = opened.enter_context(temporary.open("wb"))
                opened.callback(_remove, temporary)
                file.write(data)
                file.flush()
            written.append((path, temporary, file))
        for path, temporary, file in written:
            with storage_errors(path):
                os.fsync(file.fileno())
                temporary.replace(path)
    for folder in dict.fromkeys(path.parent for path, _ in files):
        with storage_errors(folder):
            sync_folder(folder)


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
