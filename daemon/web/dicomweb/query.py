"""The parameters of a QIDO-RS request (PS3.18 8.3.4, 10.6.1.2)."""

import re
from dataclasses import dataclass, field
from enum import IntEnum
from urllib.parse import parse_qsl

from daemon.web.dicomweb.answers import DicomwebError
from dicom_io.dicomweb.attributes import BY_KEYWORD, BY_TAG
from storage.offered.records import StudyMatch

DEFAULT_LIMIT = 100
MOST_RESULTS = 1000
_MOST_PARAMETERS = 100
_LONGEST = 1024
_LONGEST_NUMBER = 9
_MOST_WILDCARDS = 4
"""Runs of wildcards in a text: the time of a comparison grows with the power of their number."""
_WILDCARDS = re.compile(r"\?*\*[*?]*")
_DATE = re.compile(r"\d{8}")
_UID = re.compile(r"[0-9.]{1,64}")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


class Level(IntEnum):
    """The level of a search."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


_MATCHED = {
    Level.STUDY: (
        "StudyInstanceUID",
        "PatientID",
        "PatientName",
        "AccessionNumber",
        "StudyDate",
        "ModalitiesInStudy",
    ),
    Level.SERIES: ("SeriesInstanceUID", "Modality"),
    Level.INSTANCE: ("SOPInstanceUID", "SOPClassUID"),
}


@dataclass(frozen=True, slots=True)
class Query:
    """The conditions of a search, each of which must hold, and the part of the results to return.

    The values of `series`, `modalities`, `instances` and `classes` are alternatives; empty: any.
    """

    study: StudyMatch
    series: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    offset: int = 0
    limit: int = DEFAULT_LIMIT
    is_fuzzy: bool = False


@dataclass(slots=True)
class _Read:
    values: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    limit: int = DEFAULT_LIMIT
    is_fuzzy: bool = False


def read_query(text: bytes, level: Level) -> Query:
    """Return the query of a URL. Raises DicomwebError for an unknown or malformed parameter."""
    read = _Read()
    try:
        pairs = parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise DicomwebError(400, "the query of the URL is malformed") from None
    for name, value in pairs:
        _read_parameter(read, name, value, level)
    values = read.values
    first, last = _dates(values.get("StudyDate", ""))
    return Query(
        study=StudyMatch(
            study_instance_uids=_uids("StudyInstanceUID", values),
            patient_id=_text("PatientID", values),
            patient_name=_text("PatientName", values),
            accession_number=_text("AccessionNumber", values),
            first_date=first,
            last_date=last,
            modalities=_listed("ModalitiesInStudy", values),
        ),
        series=_uids("SeriesInstanceUID", values),
        modalities=_listed("Modality", values),
        instances=_uids("SOPInstanceUID", values),
        classes=_uids("SOPClassUID", values),
        offset=read.offset,
        limit=read.limit,
        is_fuzzy=read.is_fuzzy,
    )


def _read_parameter(read: _Read, name: str, value: str, level: Level) -> None:
    match name:
        case "limit":
            read.limit = min(_number(name, value), MOST_RESULTS)
        case "offset":
            read.offset = _number(name, value)
        case "fuzzymatching":
            if value not in ("true", "false"):
                raise DicomwebError(400, "fuzzymatching is true or false")
            read.is_fuzzy = value == "true"
        case "includefield":
            # Attributes that this node does not hold are left out of the answer (10.6.1.2.2).
            for one in value.split(","):
                if one != "all" and not all(
                    _TAG.fullmatch(part) or _KEYWORD.fullmatch(part) for part in one.split(".")
                ):
                    raise DicomwebError(400, "includefield is all, or names attributes")
        case _:
            attribute = BY_KEYWORD.get(name) or BY_TAG.get(name.upper())
            known = [one for at in Level if at <= level for one in _MATCHED[at]]
            if attribute is None or (value and attribute.keyword not in known):
                raise DicomwebError(
                    400, f"the parameters of this search are limit, offset, {', '.join(known)}"
                )
            if attribute.keyword in read.values:
                raise DicomwebError(400, f"{attribute.keyword} is given twice")
            read.values[attribute.keyword] = value


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > _LONGEST_NUMBER:
        raise DicomwebError(400, f"{name} is a number")
    return int(value)


def _text(name: str, values: dict[str, str]) -> str:
    value = values.get(name, "")
    if len(value) > _LONGEST or not value.isprintable():
        raise DicomwebError(400, f"{name} is too long, or not printable")
    if len(_WILDCARDS.findall(value)) > _MOST_WILDCARDS:
        raise DicomwebError(400, f"{name} has more than {_MOST_WILDCARDS} runs with *")
    return "" if set(value) == {"*"} else value


def _listed(name: str, values: dict[str, str]) -> tuple[str, ...]:
    """Return alternatives; PS3.18 8.3.4.1 separates UIDs by a comma, PS3.4 by a backslash."""
    text = _text(name, values)
    return tuple(one.strip() for one in re.split(r"[,\\]", text) if one.strip())


def _uids(name: str, values: dict[str, str]) -> tuple[str, ...]:
    found = _listed(name, values)
    if not all(_UID.fullmatch(one) for one in found):
        raise DicomwebError(400, f"{name} is a UID, or several with a comma between them")
    return found


def _dates(text: str) -> tuple[str, str]:
    """Return the first and the last date of a value or range (PS3.4 C.2.2.2.5)."""
    if not text:
        return "", ""
    first, separator, last = text.partition("-")
    if not separator:
        last = first
    if text == "-" or not all(_DATE.fullmatch(one) for one in (first, last) if one):
        raise DicomwebError(400, "StudyDate is YYYYMMDD, or a range YYYYMMDD-YYYYMMDD")
    return first, last
