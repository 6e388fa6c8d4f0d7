"""The algorithm that made an object, and the equipment attributes that name it."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io.objects.codes import PROCESSING_EQUIPMENT
from dicom_io.objects.uids import device_uid

RESEARCH_USE_ONLY = "RESEARCH USE ONLY. Not for clinical use: not for diagnosis or treatment."
_LONG_STRING = 64
_SHORT_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A model as its bundle describes it.

    `sha256` is the full hash of the bundle. `calibration` is the method that turns a logit into a
    probability and `calibration_version` the version of its curves. `operating_point` is the rule
    that chose the thresholds. `parameters` are further lines for the report.
    """

    name: str
    version: str
    manufacturer: str
    sha256: str
    calibration: str
    intended_use: str
    calibration_version: str = ""
    operating_point: str = ""
    parameters: tuple[str, ...] = ()

    def parameter_lines(self) -> tuple[str, ...]:
        """Return the lines of Algorithm Parameters (111002, DCM), the research notice first."""
        return (
            RESEARCH_USE_ONLY,
            f"Intended use: {plain(self.intended_use)}",
            f"Model bundle sha256: {self.sha256}",
            f"Calibration: {plain(self.calibration_text())}",
            *(plain(parameter) for parameter in self.parameters),
        )

    def calibration_text(self) -> str:
        """Return the calibration method and the version of its curves."""
        version = f", version {self.calibration_version}" if self.calibration_version else ""
        return self.calibration + version


def plain(text: str) -> str:
    """Return the text in characters that are safe in every DICOM character set.

    A new object keeps the SpecificCharacterSet of its source, so that names keep their bytes. In
    ISO_IR 13 the bytes of backslash and tilde mean other characters. The rest of ASCII is the same
    in every set.
    """
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    return ascii_text.replace("\\", "/").replace("~", "-")


def long_string(text: str) -> str:
    """Return the text as an LO value: safe characters, at most 64 (PS3.5 6.2)."""
    return plain(text).strip()[:_LONG_STRING]


def short_text(text: str) -> str:
    """Return the text as an ST value: safe characters, at most 1024 (PS3.5 6.2)."""
    return plain(text)[:_SHORT_TEXT]


def add_equipment(ds: Dataset, algorithm: Algorithm) -> None:
    """Fill General Equipment (PS3.3 C.7.5.1) and name the algorithm as contributing equipment."""
    _name_equipment(ds, algorithm)
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [PROCESSING_EQUIPMENT.item()]
    _name_equipment(item, algorithm)
    item.DeviceUID = device_uid(algorithm.sha256)
    item.ContributionDescription = short_text(
        f"AI analysis of chest radiographs. {RESEARCH_USE_ONLY} Calibration: "
        f"{algorithm.calibration_text()}"
    )
    ds.ContributingEquipmentSequence = [item]


def _name_equipment(ds: Dataset, algorithm: Algorithm) -> None:
    ds.Manufacturer = long_string(algorithm.manufacturer)
    ds.ManufacturerModelName = long_string(algorithm.name)
    # A SHA-256 in hexadecimal has 64 characters, the limit of an LO value.
    ds.DeviceSerialNumber = long_string(algorithm.sha256)
    ds.SoftwareVersions = long_string(algorithm.version)
