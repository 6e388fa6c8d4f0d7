"""The instances that a client may read, with what only the files of results say."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace

from daemon.web.dicomweb.answers import not_found
from daemon.worker.logs.setup import silence_libraries
from dicom_io.errors import NotDicomError
from storage.errors import IntegrityError
from storage.files.spool import Spool
from storage.offered.records import OfferedInstance, OfferedStudy, StudyMatch
from storage.store import Store

_START_BYTES = 64 * 1024
"""Bytes of a file that hold its identifying attributes."""
MOST_KEPT = 20_000


class Catalogue:
    """Finds instances; thread-safe. Each method waits for the store or for files."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self._store = store
        self._spool = spool
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def studies(
        self, sources: Collection[str], match: StudyMatch, *, offset: int, limit: int
    ) -> tuple[OfferedStudy, ...]:
        """Return the studies of these sources that match. Raises StorageError."""
        return self._store.offered.studies(sources, match, offset=offset, limit=limit)

    def instances(
        self, sources: Sequence[str], study_instance_uids: Collection[str]
    ) -> list[OfferedInstance]:
        """Return the instances of studies, each UID once. Raises StorageError.

        If several sources have one UID, the one that the client's configuration names first has it.
        """
        found: dict[str, OfferedInstance] = {}
        offered = self._store.offered.instances(sources, study_instance_uids)
        for one in sorted(offered, key=lambda one: sources.index(one.source)):
            found.setdefault(one.sop_instance_uid, one)
        complete = (self._completed(one) for one in found.values())
        return [one for one in complete if one is not None]

    def find(
        self,
        sources: Sequence[str],
        study: str,
        series: str | None = None,
        instance: str | None = None,
    ) -> list[OfferedInstance]:
        """Return the instances at a path, at least one.

        Raises DicomwebError if there is none for this client, or StorageError.
        """
        found = [
            one
            for one in self.instances(sources, [study])
            if series in (None, one.series_instance_uid)
            and instance in (None, one.sop_instance_uid)
        ]
        if not found:
            raise not_found()
        return found

    def read(self, instance: OfferedInstance) -> bytes:
        """Return the file of an instance. Raises StorageError."""
        return self._spool.read(instance.spool_path, instance.sha256)

    def _completed(self, instance: OfferedInstance) -> OfferedInstance | None:
        """Return an instance with its series and syntax; None if its file is lost or damaged.

        Raises SpoolError if no file can be read now.
        """
        if instance.kind is None:
            return instance
        with self._lock:
            known = self._kept.get(instance.sha256)
            if known is not None:
                self._kept.move_to_end(instance.sha256)
        if known is None:
            known = self._read_start(instance)
            if known is None:
                return None
            with self._lock:
                self._kept[instance.sha256] = known
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
        series, syntax = known
        return replace(instance, series_instance_uid=series, transfer_syntax_uid=syntax)

    def _read_start(self, instance: OfferedInstance) -> tuple[str, str] | None:
        # The first use loads pydicom.
        from dicom_io.dicomweb.file_meta import series_and_syntax

        silence_libraries()
        try:
            parts = itertools.islice(self._spool.chunks(instance.spool_path), 1)
            return series_and_syntax(next(parts, b"")[:_START_BYTES])
        except (IntegrityError, NotDicomError):
            return None
