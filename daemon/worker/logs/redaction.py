"""Removes from error texts everything that may name a patient, for the log and the status page."""

import re
import traceback

from daemon.errors import ROOM_ERRORS

_UID = re.compile(r"\b(?:\d+(?:\.\d+){4,}|2\.25\.\d+)\b")
_PEER_COMMENT = re.compile(r"(status 0x[0-9A-F]{4}|\(HTTP \d{3}\)):.*", re.DOTALL)


def redact(error: str) -> str:
    """Return an error text without UIDs and without the comment of another node."""
    return _UID.sub("…", without_comment(error))


def without_comment(error: str) -> str:
    """Return an error text without the comment of another node, which may name a patient."""
    return _PEER_COMMENT.sub(r"\1", error)


def error_text(error: Exception) -> str:
    """Return the redacted text of an expected error, or where an unexpected error was raised."""
    return redact(str(error)) if isinstance(error, ROOM_ERRORS) else unexpected(error)


def unexpected(error: BaseException) -> str:
    """Return the type and the traceback of an error. Its text may quote a header."""
    place = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return f"unexpected {type(error).__name__} at\n{place}"


def exception_text(error: BaseException) -> str:
    """Return types and tracebacks of an error and of those before it; texts of expected ones."""
    texts = []
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        said = f": {redact(str(each))}" if isinstance(each, ROOM_ERRORS) else ""
        place = "".join(traceback.format_tb(each.__traceback__)).rstrip()
        texts.append(f"{type(each).__name__}{said} at\n{place}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\nafter ".join(texts)
