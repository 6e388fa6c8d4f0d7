"""What of an error's text may be logged or shown: nothing that could name a patient."""

import re
import traceback

_UID = re.compile(r"\b(?:\d+(?:\.\d+){4,}|2\.25\.\d+)\b")

_PEER_WORDS = re.compile(r"(status 0x[0-9A-F]{4}):.*", re.DOTALL)


def redact(error: str) -> str:
    """An error's text without UIDs and without what another node said in its own words."""
    return _UID.sub("…", _PEER_WORDS.sub(r"\1", error))


def unexpected(error: Exception) -> str:
    """An error that is none of ours, by its type and place: its text may quote a header."""
    place = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return f"unexpected {type(error).__name__} at\n{place}"
