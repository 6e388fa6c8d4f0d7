"""Choices for HL7 v2 messages: character sets, status of results, mode of acknowledgement."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator

from daemon.config.fields import Section

UTF_8 = "UNICODE UTF-8"
CODECS = {
    "": "ascii",
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    **{f"8859/{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    "ISO IR14": "iso2022_jp",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf_8",
    UTF_8: "utf_8",
}
"""Codecs of Python by the codes of HL7 table 0211, for messages that are read.

`UNICODE` is the older code of senders of UTF-8.
"""


class SentCharset(StrEnum):
    """Character sets of messages that are made (MSH-18)."""

    ASCII = "ASCII"
    LATIN_1 = "8859/1"
    LATIN_2 = "8859/2"
    CYRILLIC = "8859/5"
    GREEK = "8859/7"
    LATIN_5 = "8859/9"
    LATIN_9 = "8859/15"
    UTF_8 = UTF_8


class ResultStatus(StrEnum):
    """Status of a result that no physician has verified (OBR-25 and OBX-11)."""

    PRELIMINARY = "P"
    NOT_VERIFIED = "R"
    FINAL = "F"


class Acknowledgement(StrEnum):
    """Mode of acknowledgement that a message asks for (HL7 v2.5.1, 2.9.2 and 2.9.3)."""

    ORIGINAL = "original"
    ENHANCED = "enhanced"


class ProcessingId(StrEnum):
    """Use of a message (MSH-11, HL7 table 0103)."""

    PRODUCTION = "P"
    TRAINING = "T"
    DEBUGGING = "D"


def _checked_designator(value: str) -> str:
    """Return an HD: a name, or name, identifier and its type with ^ between. Raises ValueError."""
    if not _DESIGNATOR.fullmatch(value):
        raise ValueError("is a name without delimiters of HL7, or an HD: NAME^1.2.3^ISO")
    return value


_DESIGNATOR = re.compile(r"[^|~&\\^\x00-\x1f\x7f]{1,199}(?:\^[^|~&\\^\x00-\x1f\x7f]{0,199}){0,2}")
Designator = Annotated[str, AfterValidator(_checked_designator)]


class Hl7DestinationKeys(Section):
    """The keys of a destination of kind hl7, for its messages. None is the default of each.

    The applications and facilities are MSH-3 to MSH-6.
    """

    receiving_application: Designator | None = None
    receiving_facility: Designator | None = None
    sending_application: Designator | None = None
    sending_facility: Designator | None = None
    result_status: ResultStatus | None = None
    acknowledgement: Acknowledgement | None = None
    processing_id: ProcessingId | None = None
    charset: SentCharset | None = None
