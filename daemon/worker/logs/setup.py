"""Sets up the log of a process: on stderr, in one of the formats, from one level on."""

import logging
import os
import sys
import threading
import warnings
from typing import TextIO

from daemon.config.sections.log import LogConfig, LogFormat
from daemon.worker.logs.formats import JournalFormat, JournalTextFormat, JsonFormat, TextFormat

OWN_LOGGERS = {
    "retrieve",
    *("analyst", "audit", "bell", "commitment", "courier", "housekeeping", "listener", "reader"),
    *("hl7", "supervisor", "sweep", "tls", "waits", "web", "worklist"),
    *("cxr_model", "daemon", "dicom_io", "storage"),
}
"""Loggers of this program. Those of libraries are shown from `warning` on."""


def configure_logging(settings: LogConfig, role: str) -> None:
    """Log to stderr. Messages name an instance by its number, never a patient.

    Libraries log only warnings and errors, also at the level `debug`: they may quote their input.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_format_for(settings.format, role, handler.stream))
    handler.addFilter(_is_shown)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.basicConfig(level=level, handlers=[handler], force=True)
    silence_libraries()


def silence_libraries() -> None:
    """Keep the messages of libraries about their input out of the log: they may quote the input.

    Call it again after the libraries are imported: pydicom then sets a level of its own.
    """
    for noisy in ("pydicom", "alembic", "highdicom"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # A warning of pydicom may quote an invalid value.
    warnings.filterwarnings("ignore", module="pydicom")
    # The courier logs once that a destination is down. The state machine would log every malformed
    # PDU with its bytes.
    for silent in ("pynetdicom.transport", "pynetdicom.dul"):
        logging.getLogger(silent).setLevel(logging.CRITICAL)


def log_uncaught(log: logging.Logger) -> None:
    """Log warnings and the errors that end a thread or the process, in the format of the log."""
    logging.captureWarnings(True)

    def end_of_thread(end: threading.ExceptHookArgs) -> None:
        name = end.thread.name if end.thread is not None else "?"
        log.critical("the thread %s ended by an error", name, exc_info=end.exc_value)

    threading.excepthook = end_of_thread
    sys.excepthook = lambda _type, error, _trace: log.critical("ended by an error", exc_info=error)


def is_journal(stream: TextIO) -> bool:
    """Return True if the stream goes to systemd's journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _is_shown(record: logging.LogRecord) -> bool:
    is_own = record.name.partition(".")[0] in OWN_LOGGERS
    return is_own or record.levelno >= logging.WARNING


def _format_for(form: LogFormat, role: str, stream: TextIO) -> logging.Formatter:
    in_journal = is_journal(stream)
    if form is LogFormat.JSON:
        one_object = JsonFormat(role)
        return JournalFormat(one_object) if in_journal else one_object
    return JournalFormat(JournalTextFormat()) if in_journal else TextFormat()
