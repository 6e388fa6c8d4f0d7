"""The headers of the films analysed last: a report need not read and check the films again."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from dicom_io.errors import NotDicomError
from dicom_io.objects.source_header import PatientIdentity, with_patient
from dicom_io.read.image_header import ImageHeader, read_image_header
from storage.files.spool import Spool
from storage.records import Instance

MOST_KEPT = 64
LARGEST_KEPT = 262_144
"""Bytes of a header that is kept. Headers of films have some thousands."""


@dataclass(frozen=True, slots=True)
class _Kept:
    mark: Hashable
    header: ImageHeader


class KeptHeaders:
    """Headers by the spool path and the SHA-256 of their file, the last of some; for many threads.

    A file that was changed, replaced or lost since its header was kept is read again, so that a
    damaged film is found as without this.
    """

    def __init__(self, spool: Spool, most: int = MOST_KEPT) -> None:
        self._spool = spool
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def mark(self, instance: Instance) -> Hashable | None:
        """Return the mark of a film's file, to be taken before the file is read; None if lost."""
        return self._spool.mark(instance.spool_path)

    def keep(self, instance: Instance, mark: Hashable | None, data: bytes) -> None:
        """Keep the header of a film from the bytes of its file; a large header is not kept."""
        if mark is None:
            return
        try:
            header = read_image_header(data)
        except NotDicomError:
            return
        if header.size > LARGEST_KEPT:
            return
        with self._lock:
            self._kept[_key(instance)] = _Kept(mark, header)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def header(self, instance: Instance) -> ImageHeader:
        """Return the header of a film with the present identity of its patient.

        It is the one that was kept, or else read from the file of the film.

        A kept header is given out once: building objects decodes it further, and what is made of it
        must not depend on what was made before. Raises StorageError, NotDicomError.
        """
        with self._lock:
            kept = self._kept.pop(_key(instance), None)
        if kept is not None and kept.mark == self.mark(instance):
            header = kept.header
        else:
            header = read_image_header(self._spool.read(instance.spool_path, instance.sha256))
        patient = present_patient(instance)
        return header if patient is None else with_patient(header, patient)


def present_patient(instance: Instance) -> PatientIdentity | None:
    """Return the identity that messages gave to a film; None if it is that of its header."""
    if not instance.identity_key:
        return None
    return PatientIdentity(
        instance.patient_id,
        instance.issuer_of_patient_id or "",
        instance.patient_name or "",
        instance.patient_birth_date or "",
        instance.patient_sex or "",
        instance.identity_key,
    )


def _key(instance: Instance) -> tuple[str, str]:
    return instance.spool_path, instance.sha256
