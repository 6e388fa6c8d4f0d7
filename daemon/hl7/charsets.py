"""Character sets of messages: MSH-18, HL7 table 0211 (HL7 v2.5.1, 2.15.9.18)."""

from daemon.config.partners.hl7_messages import CODECS, UTF_8, SentCharset
from daemon.errors import Hl7Error
from daemon.hl7.grammar import Delimiters

_LONGEST_HEADER = 4096


def encoded(text: str, charset: SentCharset) -> bytes:
    """Return a message in a character set. Raises Hl7Error, which names segment and field."""
    codec = CODECS[charset]
    try:
        return text.encode(codec)
    except UnicodeEncodeError as error:
        before = text[: error.start].rpartition("\r")[2]
        name = before[:3]
        # MSH-1 is the first separator itself.
        field = before.count("|") + (name == "MSH")
        raise Hl7Error(
            f"{name}-{field} has a character that {charset} lacks; set charset: {UTF_8}"
        ) from None


def encoded_loosely(text: str) -> bytes:
    """Return a message in ASCII, with `?` for other characters."""
    return text.encode("ascii", "replace")


def decoded(data: bytes, otherwise: str = "") -> str:
    """Return the text of a message by its MSH-18; `otherwise` stands for an empty MSH-18.

    A message in several character sets is read by the last of them, which extends the first. A
    byte order mark before MSH is ignored. Raises Hl7Error for an unknown character set and for
    bytes that are not of the set.
    """
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    name = charset_of(data) or otherwise
    codec = CODECS.get(name)
    if codec is None:
        raise Hl7Error("MSH-18 names a character set that is not read here")
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        stated = f"of {name}" if name else "of ASCII, and MSH-18 names no character set"
        raise Hl7Error(f"the message has bytes that are not {stated}") from None


def charset_of(data: bytes) -> str:
    """Return the last character set of MSH-18, empty if it has none. Raises Hl7Error."""
    end = min(
        (place for place in (data.find(b"\r"), data.find(b"\n")) if place >= 0), default=len(data)
    )
    header = data[: min(end, _LONGEST_HEADER)].decode("latin-1")
    delimiters = Delimiters.of(header)
    fields = header.split(delimiters.field)
    if len(fields) < 18:
        return ""
    sets = [one.strip() for one in fields[17].split(delimiters.repetition) if one.strip()]
    return sets[-1].upper() if sets else ""
