"""Values of DICOM as fields of HL7 v2: names, dates, codes (IHE RAD TF-2 appendix D)."""

import re
from datetime import datetime

from daemon.hl7.grammar import components

_DATE = re.compile(r"(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"((?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d)?)?)(?:\.\d{1,6})?")
_GROUPS = ("A", "I", "P")
"""Alphabetic, ideographic and phonetic: HL7 table 0465, in the order of the groups of a PN."""
_SEXES = frozenset("FMO")


def patient_name(name: str) -> str:
    """Return a PN (PS3.5 6.2.1) as XPN, with a repetition for each component group.

    Without a name it is `^^^^^^U`: unspecified (HL7 table 0200).
    """
    groups = name.split("=")[: len(_GROUPS)]
    filled = [
        (kind, group) for kind, group in zip(_GROUPS, groups, strict=False) if group.strip("^ ")
    ]
    if not filled:
        return components("", "", "", "", "", "", "U")
    if len(filled) == 1 and filled[0][0] == "A":
        return components(*_name_parts(filled[0][1]))
    return "~".join(components(*_name_parts(group), "", kind) for kind, group in filled)


def provider_name(name: str) -> str:
    """Return the first group of a PN as XCN without an identifier; empty without a name."""
    group = name.split("=")[0]
    return components("", *_name_parts(group)[:5]) if group.strip("^ ") else ""


def date(value: str) -> str:
    """Return a DA (PS3.5 6.2) as DT; empty if it is malformed."""
    return value if _DATE.fullmatch(value) else ""


def date_time(day: str, time: str, written: datetime) -> str:
    """Return DA and TM as TS, with the offset from UTC of `written`, which governs both.

    Empty if the date is malformed; only the date if the time is.
    """
    found = _TIME.fullmatch(time)
    if not date(day) or found is None:
        return date(day)
    return f"{day}{found[1]}{_offset(written)}"


def moment(value: datetime) -> str:
    """Return a time as TS, with its offset from UTC if it has one."""
    return f"{value:%Y%m%d%H%M%S}" + _offset(value)


def sex(value: str) -> str:
    """Return Patient's Sex by HL7 table 0001; empty if it is not F, M or O."""
    return value if value in _SEXES else ""


def _name_parts(group: str) -> tuple[str, ...]:
    """Return the XPN components family, given, middle, suffix and prefix of a PN group."""
    parts = [part.strip() for part in group.split("^")]
    family, given, middle, prefix, suffix = (*parts, "", "", "", "", "")[:5]
    return family, given, middle, suffix, prefix, ""


def _offset(value: datetime) -> str:
    return f"{value:%z}"[:5]
