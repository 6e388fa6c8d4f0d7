"""Orphans: spool files without a database row, left by killed processes.

A file is in the spool before its row is in the database, so a process that is killed in between
leaves an orphan. A writer holds the file's folder (`Spool.folders_held`) until the row is
committed. A sweep takes only files of folders without a writer: it locks the folder and looks for
the rows again. In a bucket there are no locks: `storage.files.s3.s3_spool` says what takes their
place.

An orphaned object is deleted: its job makes it again. An orphaned received file is moved to
LOST_AND_FOUND: it was not acknowledged, so its sender still has it, unless the database was
restored from a backup and is older than the spool. It is deleted when the same bytes are in the
spool with a row.

No file is deleted during a backup, which may still copy it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from storage.errors import IntegrityError, SpoolError, StorageError
from storage.files.spool import LOST_AND_FOUND, OBJECTS, RECEIVED, Spool
from storage.hosts.leases import LeaseName
from storage.store import Store

MAX_TRIES = 20
"""Attempts to lock a folder that is in use, before its files are left to the next sweep."""
_WAIT_SECONDS = 0.1


@dataclass(slots=True)
class Swept:
    """Numbers of files of one sweep.

    Attributes:
        temporary: temporary files deleted.
        objects: orphaned objects deleted.
        set_aside: orphaned received files moved to LOST_AND_FOUND.
        duplicates: files deleted from LOST_AND_FOUND, because the same bytes have a row.
        waiting: files left in LOST_AND_FOUND.
        put_back: files put back from LOST_AND_FOUND, because they have a row.
        busy: files in folders that stayed in use, left to the next sweep.
        failed_batches: batches left to the next sweep after an error.
        failure: the error of the last failed batch.
    """

    temporary: int = 0
    objects: int = 0
    set_aside: int = 0
    duplicates: int = 0
    waiting: int = 0
    put_back: int = 0
    busy: int = 0
    failed_batches: int = 0
    failure: str = ""


class Sweep:
    """Sweeps of a spool that other processes use meanwhile. Memory use is constant.

    `pause` is called between batches with the seconds to wait; it returns True to stop the sweep.
    """

    def __init__(
        self,
        spool: Spool,
        store: Store,
        pause: Callable[[float], bool],
        max_tries: int = MAX_TRIES,
    ) -> None:
        self._spool = spool
        self._store = store
        self._pause = pause
        self._max_tries = max_tries

    def run(self) -> Swept:
        """Sweep all files, or until `pause` returns True.

        Raises StorageError if the files cannot be listed.
        """
        swept = Swept(temporary=self._spool.sweep_temporary())
        for area in (RECEIVED, OBJECTS, LOST_AND_FOUND):
            for batch in self._spool.batches(area, settled=True):
                try:
                    self._sweep_batch(area, batch, swept)
                except StorageError as error:
                    swept.failed_batches += 1
                    swept.failure = str(error)
                if self._pause(0.0):
                    return swept
        return swept

    def _sweep_batch(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        if area == LOST_AND_FOUND:
            self._delete_duplicates(self._still_lost(paths, swept), swept)
        elif orphans := self._store.unreferenced(paths):
            self._clear(area, orphans, swept)

    def _clear(self, area: str, paths: Sequence[str], swept: Swept) -> None:
        """Lock the folder of the paths, then remove those that are still orphans."""
        for _ in range(self._max_tries):
            with self._spool.exclusive(paths[0]) as is_held:
                if is_held and self._remove_orphans(area, paths, swept):
                    return
            if self._pause(_WAIT_SECONDS):
                break
        swept.busy += len(paths)

    def _remove_orphans(self, area: str, paths: Sequence[str], swept: Swept) -> bool:
        """Remove those of the paths that are still orphans; return False during a backup.

        Received files are moved, not deleted, also during a backup.
        """
        if area == RECEIVED:
            orphans = self._store.unreferenced(paths, wait_for_writers=True)
            if orphans:
                swept.set_aside += self._spool.set_aside(orphans)
                self._look_again(orphans, swept)
            return True
        with self._store.leases.try_hold(LeaseName.FILES) as lease:
            if lease is None:
                return False
            orphans = self._store.unreferenced(paths, wait_for_writers=True)
            # A backup that took over the lease later than this names none of the orphans.
            lease.confirm()
            self._spool.retire(orphans)
            swept.objects += len(orphans)
            self._look_again(orphans, swept)
        return True

    def _look_again(self, paths: Sequence[str], swept: Swept) -> None:
        """Put back files that have a row now: in a bucket no lock keeps their writer away."""
        if not paths:
            return
        named = set(paths).difference(self._store.unreferenced(paths, wait_for_writers=True))
        if named:
            swept.put_back += len(self._spool.put_back(sorted(named)))

    def _still_lost(self, paths: Sequence[str], swept: Swept) -> dict[str, bool]:
        """Put back the files of LOST_AND_FOUND that a row names; return the other received files.

        The value is True if no row names the file, False if the file is at its place, too. Objects
        that were moved there and still have no row are deleted.
        """
        origins = {self._spool.origin(path): path for path in paths}
        with self._store.leases.try_hold(LeaseName.FILES) as lease:
            lost = self._store.unreferenced(tuple(origins), wait_for_writers=True)
            made = [path for path in lost if path.startswith(f"{OBJECTS}/")]
            if lease is not None and made:
                lease.confirm()
                self._spool.delete_together([origins[path] for path in made])
        back = self._spool.put_back(sorted(origins.keys() - set(lost)))
        swept.put_back += len(back)
        return {
            path: origin in lost
            for origin, path in origins.items()
            if origin not in back and not origin.startswith(f"{OBJECTS}/")
        }

    def _delete_duplicates(self, paths: Mapping[str, bool], swept: Swept) -> None:
        """Delete files of LOST_AND_FOUND whose bytes are also in a file with a row."""
        digests = {}
        for path in paths:
            try:
                digests[path] = self._spool.digest(path)
            except IntegrityError:
                continue  # the operator removed it
            except SpoolError:
                swept.waiting += 1
            if self._pause(0.0):
                return
        files = self._store.kept_files_by_digest(set(digests.values()))
        kept = {file.sha256: file.spool_path for file in files}
        with self._store.leases.try_hold(LeaseName.FILES) as lease:
            for path, sha256 in digests.items():
                has_other = sha256 in kept and self._is_intact(kept[sha256], sha256)
                # A row may name this very file by now: then the next sweep puts it back.
                is_named = paths[path] and not self._store.unreferenced([self._spool.origin(path)])
                if lease is not None and has_other and not is_named:
                    self._spool.delete(path)
                    swept.duplicates += 1
                else:
                    swept.waiting += 1

    def _is_intact(self, path: str, sha256: str) -> bool:
        try:
            self._spool.verify(path, sha256)
        except (IntegrityError, SpoolError):
            return False
        return True
