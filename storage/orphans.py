"""Files that no row names: what killed processes left behind, told from what is being recorded.

A file is in the spool before its row is in the database, so a process killed in between leaves a
file that nobody will look for. Whoever writes one holds its folder (`Spool.recording`) until the
row is committed; a sweep takes only files of folders that nobody holds, and asks for their rows
once more when it has the folder to itself.

What was made here is deleted: the job that made it makes it again. What was received is set aside:
it was never acknowledged, so its sender has it, unless the database is older than the spool
because it was restored from a backup. Once the same bytes are in the spool by a row of their own,
what was set aside is deleted.

Nothing is deleted while somebody makes a backup, which may still want it.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from storage.errors import IntegrityError, SpoolError, StorageError
from storage.files.lock import turn
from storage.files.spool import LOST_AND_FOUND, OBJECTS, RECEIVED, Spool
from storage.store import Store

_TRIES = 20

_WAIT_SECONDS = 0.1


@dataclass(slots=True)
class Swept:
    """How many files were deleted, set aside, and found where they are set aside.

    `unfinished` and `unnamed` were deleted: temporary files, and objects that no row names.
    `kept_elsewhere` were deleted of those set aside. `busy` were left for the next time, as were
    the `batches_failed`, of which `failure` tells the last one's reason.
    """

    unfinished: int = 0
    unnamed: int = 0
    set_aside: int = 0
    kept_elsewhere: int = 0
    waiting: int = 0
    busy: int = 0
    batches_failed: int = 0
    failure: str = ""


class Sweep:
    """One look at every file of a spool, beside any number of processes that work with it.

    Memory does not grow with the spool. `pause` is called between batches with the seconds to wait,
    and says whether to stop.
    """

    def __init__(
        self, spool: Spool, store: Store, lock: Path, pause: Callable[[float], bool]
    ) -> None:
        """`lock` is the one that whoever makes a backup holds."""
        self._spool = spool
        self._store = store
        self._lock = lock
        self._pause = pause

    def run(self) -> Swept:
        """Sweep until done or told to stop. Raises StorageError where nothing can be listed."""
        swept = Swept(unfinished=self._spool.sweep_temporary())
        for area in (RECEIVED, OBJECTS, LOST_AND_FOUND):
            for batch in self._spool.listed(area):
                try:
                    self._look_at(area, batch, swept)
                except StorageError as error:
                    swept.batches_failed += 1
                    swept.failure = str(error)
                if self._pause(0.0):
                    return swept
        return swept

    def _look_at(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        if area == LOST_AND_FOUND:
            self._look_through(paths, swept)
        elif unnamed := self._store.unnamed(paths):
            self._clear(area, unnamed, swept)

    def _clear(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        for _ in range(_TRIES):
            with self._spool.alone(paths[0]) as alone, self._turn(area) as mine:
                if alone and mine:
                    self._clear_alone(area, self._store.unnamed(paths, settled=True), swept)
                    return
            if self._pause(_WAIT_SECONDS):
                break
        swept.busy += len(paths)

    def _turn(self, area: str) -> AbstractContextManager[bool]:
        """Whether files of this area may be taken: received ones are moved, not deleted."""
        return contextlib.nullcontext(enter_result=True) if area == RECEIVED else turn(self._lock)

    def _clear_alone(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        if area == OBJECTS:
            for path in paths:
                self._spool.delete(path)
            swept.unnamed += len(paths)
        elif paths:
            swept.set_aside += self._spool.set_aside(paths)

    def _look_through(self, paths: Sequence[str], swept: Swept) -> None:
        """Delete of what was set aside that of which another copy is named by a row."""
        digests = {}
        for path in paths:
            try:
                digests[path] = self._spool.digest(path)
            except IntegrityError:
                continue  # a person took it away
            except SpoolError:
                swept.waiting += 1
            if self._pause(0.0):
                return
        kept = {one.sha256: one for one in self._store.holders(set(digests.values()))}
        with turn(self._lock) as mine:
            for path, sha256 in digests.items():
                if mine and sha256 in kept and self._is_intact(kept[sha256].spool_path, sha256):
                    self._spool.delete(path)
                    swept.kept_elsewhere += 1
                else:
                    swept.waiting += 1

    def _is_intact(self, path: str, sha256: str) -> bool:
        try:
            self._spool.verify(path, sha256)
        except (IntegrityError, SpoolError):
            return False
        return True
