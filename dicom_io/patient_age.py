"""How old the patient was when the film was taken, as far as the header tells."""

import datetime
import re

from pydicom import Dataset

from dicom_io.header import text

# Age String (PS3.5 6.2); some archives leave the unit out and mean years.
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}
_TAKEN = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
_OLDEST = 130


def age_in_years(ds: Dataset) -> float | None:
    """PatientAge, else the time from PatientBirthDate to the film; None where neither tells."""
    match = _AGE.fullmatch(text(ds, "PatientAge").upper())
    if match is not None:
        return int(match[1]) / _PER_YEAR[match[2]]
    born = _date(text(ds, "PatientBirthDate"))
    taken = next(filter(None, (_date(text(ds, keyword)) for keyword in _TAKEN)), None)
    if born is None or taken is None:
        return None
    years = (taken - born).days / 365.25
    return years if 0 <= years <= _OLDEST else None


def _date(value: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(value, "%Y%m%d").date()  # noqa: DTZ007 - a date only
    except ValueError:
        return None
