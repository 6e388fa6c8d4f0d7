"""Reports as text: parsed once from the files of the spool, which this software wrote.

A file is checked against its SHA-256 before it is parsed, within the limits of the parser.
"""

import threading
from collections import OrderedDict

from daemon.worker.logs.setup import silence_libraries
from dicom_io.errors import DicomError
from dicom_io.report.parts import ReportParts
from storage.errors import IntegrityError, SpoolError, SpoolUnavailableError
from storage.files.spool import Spool
from storage.records import ObjectRecord

MOST_KEPT = 128


class ReportReader:
    """Reads the reports of this node; keeps the text of those that were read last."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, ReportParts] = OrderedDict()

    def parts(self, report: ObjectRecord) -> ReportParts | None:
        """Return the text of a report; None if its file is purged, lost or damaged.

        Raises SpoolUnavailableError if no file can be read now.
        """
        if report.purged_at is not None:
            return None
        with self._lock:
            kept = self._kept.get(report.sha256)
            if kept is not None:
                self._kept.move_to_end(report.sha256)
                return kept
        try:
            read = parse_report(self._spool.read(report.spool_path, report.sha256))
        except SpoolUnavailableError:
            raise
        except (DicomError, IntegrityError, SpoolError):
            return None
        with self._lock:
            self._kept[report.sha256] = read
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return read


def parse_report(data: bytes) -> ReportParts:
    """Return the text of a report. Raises DicomError.

    The first call loads pydicom, without which the web role is sooner ready.
    """
    from dicom_io.read.header import read_dataset
    from dicom_io.report.text import report_parts

    silence_libraries()
    return report_parts(read_dataset(data))
