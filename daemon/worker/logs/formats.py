"""The forms of a log line: text, text for systemd's journal, and JSON.

Each form shows a message without UIDs and without the comment of another node. Of an exception it
shows the type and the traceback: the text of an exception may quote the header of an image.
"""

import json
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from daemon.worker.logs.redaction import error_text, exception_text, redact

_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Priorities of sd-daemon(3), by level."""


class TextFormat(logging.Formatter):
    """One line for a person: time (UTC), level, logger, message; an exception follows it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a message."""
        record.message = message_of(record)
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        exception = _exception_of(record)
        return self.formatMessage(record) + (f"\n{exception}" if exception else "")


class JournalFormat(logging.Formatter):
    """Another form with the priority before each line, from which systemd's journal takes it."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a message, each with its priority."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).split("\n"))


class JournalTextFormat(TextFormat):
    """Text without a time: the journal has the time of each message."""

    def __init__(self) -> None:
        super().__init__()
        self._style = logging.PercentStyle("%(levelname)s %(name)s: %(message)s")


class JsonFormat(logging.Formatter):
    """One JSON object a line, in ASCII."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the object: the message, and its parts for programs."""
        date = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        entry: dict[str, object] = {
            "time": f"{date.isoformat(timespec='milliseconds')}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "role": self._role,
            "pid": record.process,
            "message": message_of(record),
            "event": redact(_template_of(record)),
        }
        if isinstance(record.args, Mapping):
            entry["values"] = {str(name): _value(one) for name, one in record.args.items()}
        if exception := _exception_of(record):
            entry["exception"] = exception
        return json.dumps(entry)


def message_of(record: logging.LogRecord) -> str:
    """Return the message with its values, redacted."""
    if isinstance(record.msg, Exception):
        return error_text(record.msg).partition("\n")[0]
    return redact(record.getMessage())


def _template_of(record: logging.LogRecord) -> str:
    return message_of(record) if isinstance(record.msg, Exception) else str(record.msg)


def _value(value: object) -> object:
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if value is None or is_number:
        return value
    return redact(str(value))


def _exception_of(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return exception_text(error) if error is not None else ""
