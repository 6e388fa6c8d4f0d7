"""Files that no row names: what killed processes left behind, told from what is being recorded.

A file is in the spool before its row is in the database, so a process killed in between leaves a
file that nobody will look for. Whoever writes one holds its folder (`Spool.recording`) until the
row is committed; a sweep takes only files of folders that nobody holds, and asks for their rows
once more when it has the folder to itself.

What was made here is deleted: the job that made it makes it again. What was received is set aside:
it was never acknowledged, so its sender has it, unless the database is older than the spool
because it was restored from a backup. Once the same bytes are in the spool by a row of their own,
what was set aside is deleted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.errors import IntegrityError
from storage.spool import LOST_AND_FOUND, OBJECTS, RECEIVED, Spool
from storage.store import Store

_TRIES = 20
_WAIT_SECONDS = 0.1


@dataclass(slots=True)
class Swept:
    """How many files were deleted, set aside, and found where they are set aside.

    `unfinished` and `unnamed` were deleted: temporary files, and objects that no row names.
    `kept_elsewhere` were deleted of those set aside. `busy` were left for the next time.
    """

    unfinished: int = 0
    unnamed: int = 0
    set_aside: int = 0
    kept_elsewhere: int = 0
    waiting: int = 0
    busy: int = 0


class Sweep:
    """One look at every file of a spool, beside any number of processes that work with it.

    Memory does not grow with the spool. `pause` is called between batches with the seconds to wait,
    and says whether to stop.
    """

    def __init__(self, spool: Spool, store: Store, pause: Callable[[float], bool]) -> None:
        self._spool = spool
        self._store = store
        self._pause = pause

    def run(self) -> Swept:
        """Sweep until done or told to stop. Raises StorageError."""
        swept = Swept(unfinished=self._spool.sweep_temporary())
        for area in (RECEIVED, OBJECTS):
            for batch in self._spool.listed(area):
                unnamed = self._store.unnamed(batch)
                if unnamed:
                    self._clear(area, unnamed, swept)
                if self._pause(0.0):
                    return swept
        for batch in self._spool.listed(LOST_AND_FOUND):
            self._look_through(batch, swept)
            if self._pause(0.0):
                break
        return swept

    def _clear(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        for _ in range(_TRIES):
            with self._spool.alone(paths[0]) as alone:
                if alone:
                    self._clear_alone(area, self._store.unnamed(paths, settled=True), swept)
                    return
            if self._pause(_WAIT_SECONDS):
                break
        swept.busy += len(paths)

    def _clear_alone(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        if area == OBJECTS:
            for path in paths:
                self._spool.delete(path)
            swept.unnamed += len(paths)
        elif paths:
            self._spool.set_aside(paths)
            swept.set_aside += len(paths)

    def _look_through(self, paths: Sequence[str], swept: Swept) -> None:
        """Delete of what was set aside that of which another copy is named by a row."""
        digests = {}
        for path in paths:
            digests[path] = self._spool.digest(path)
            if self._pause(0.0):
                return
        kept = {one.sha256: one for one in self._store.holders(set(digests.values()))}
        for path, sha256 in digests.items():
            if sha256 in kept and self._is_intact(kept[sha256].spool_path, sha256):
                self._spool.delete(path)
                swept.kept_elsewhere += 1
            else:
                swept.waiting += 1

    def _is_intact(self, path: str, sha256: str) -> bool:
        try:
            self._spool.verify(path, sha256)
        except IntegrityError:
            return False
        return True
