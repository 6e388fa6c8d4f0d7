"""Matching of a query with a workitem (PS3.4 C.2.2.2, table CC.2.5-3)."""

import re
from fnmatch import translate

from pydicom import DataElement, Dataset

from dicom_io.read.header import items, text

_RANGES = frozenset({"DA", "DT", "TM"})
_TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NEVER_RETURNED = "TransactionUID"
_ALWAYS_RETURNED = ("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID")


def matches(ds: Dataset, query: Dataset) -> bool:
    """Return True if a workitem has the values of all keys; an empty key matches any."""
    return all(_has(ds, key) for key in query if key.keyword not in _ALWAYS_RETURNED[:1])


def answer(ds: Dataset, query: Dataset) -> Dataset:
    """Return the attributes that a query asks for, and the identity of the workitem."""
    wanted = {key.keyword for key in query} | {*_ALWAYS_RETURNED}
    found = Dataset()
    for element in ds:
        if element.keyword in wanted and element.keyword != _NEVER_RETURNED:
            found.add(element)
    for key in query:
        if key.tag not in found and key.keyword not in ("", _NEVER_RETURNED):
            found.add(DataElement(key.tag, key.VR, None if key.VR != "SQ" else []))
    return found


def _has(ds: Dataset, key: DataElement) -> bool:
    if key.VR == "SQ":
        wanted = items(Dataset({key.tag: key}), key.keyword) if key.keyword else ()
        return not wanted or _has_item(items(ds, key.keyword), wanted[0])
    value = text(Dataset({key.tag: key}), key.keyword) if key.keyword else ""
    if not value or key.keyword in ("CodeMeaning", _NEVER_RETURNED):
        return True
    found = text(ds, key.keyword)
    if key.VR in _RANGES and "-" in value:
        return _is_in_range(found, value)
    if key.VR == "UI":
        return found in value.split("\\")
    if key.VR in _TEXTS and ("*" in value or "?" in value):
        return re.fullmatch(translate(value.replace("[", "[[]")), found) is not None
    return found == value


def _has_item(found: tuple[Dataset, ...], key: Dataset) -> bool:
    if not any(element.value for element in key):
        return True
    return any(matches(item, key) for item in found)


def _is_in_range(found: str, value: str) -> bool:
    first, _, last = value.partition("-")
    # A shorter value stands for all of its period.
    return bool(found) and found >= first and (not last or found[: len(last)] <= last)
