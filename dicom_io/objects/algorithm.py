"""The algorithm that made an object, and the equipment attributes that name it.

IHE AIR compares the equipment of an object with the items of a report that name the algorithm.
Attributes and items therefore take the same properties of `Algorithm`, which are already cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from dicom_io.objects.codes import PROCESSING_EQUIPMENT
from dicom_io.objects.uids import device_uid

RESEARCH_USE_ONLY = "RESEARCH USE ONLY. Not for clinical use: not for diagnosis or treatment."
_LONG_STRING = 64
_SHORT_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A model as its bundle describes it.

    `sha256` is the full hash of the bundle. `calibrated` says that the probabilities agree with
    outcomes. `calibration` is the evidence for it and the method that turns a logit into a
    probability, and `calibration_version` the version of its curves. `operating_point` is the rule
    that chose the thresholds. `parameters` are further lines for the report. `locations` has a
    sentence per label, without a full stop: how far the place that its maps show can be believed.
    """

    name: str
    version: str
    manufacturer: str
    sha256: str
    calibration: str
    intended_use: str
    calibrated: bool = False
    calibration_version: str = ""
    operating_point: str = ""
    parameters: tuple[str, ...] = ()
    locations: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """Manufacturer's Model Name (0008,1090), an LO value."""
        return long_string(self.name)

    @property
    def software_version(self) -> str:
        """Software Versions (0018,1020), one LO value."""
        return long_string(self.version)

    @property
    def manufacturer_name(self) -> str:
        """Manufacturer (0008,0070), an LO value."""
        return long_string(self.manufacturer)

    @property
    def serial_number(self) -> str:
        """Device Serial Number (0018,1000), an LO value: the SHA-256 has its 64 characters."""
        return long_string(self.sha256)

    @property
    def device_uid(self) -> str:
        """Device UID (0018,1002) of this software with this model."""
        return device_uid(self.sha256)

    @property
    def remark(self) -> str:
        """Words after a probability in a sentence; empty if the model is calibrated."""
        return "" if self.calibrated else ", not calibrated"

    def parameter_lines(self) -> tuple[str, ...]:
        """Return a line per parameter: intended use, model, calibration, further parameters."""
        return (
            f"Intended use: {plain(self.intended_use)}",
            f"Model: {self.model_name} {self.software_version} of {self.manufacturer_name}",
            f"Calibration: {plain(self.calibration_text())}",
            *(plain(parameter) for parameter in self.parameters),
            f"Model bundle sha256: {self.sha256}",
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
    """Return the text as an LO value: one line of safe characters, at most 64 (PS3.5 6.2).

    The value has no space at its ends, because readers remove it from some VRs only.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in plain(text)).split())
    return line[:_LONG_STRING].rstrip()


def short_text(text: str) -> str:
    """Return the text as an ST value: safe characters, at most 1024 (PS3.5 6.2)."""
    return plain(text)[:_SHORT_TEXT]


def add_equipment(ds: Dataset, algorithm: Algorithm) -> None:
    """Fill General Equipment (PS3.3 C.7.5.1) and name the algorithm as contributing equipment."""
    _name_equipment(ds, algorithm)
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [PROCESSING_EQUIPMENT.item()]
    _name_equipment(item, algorithm)
    item.DeviceUID = algorithm.device_uid
    item.ContributionDescription = short_text(
        f"AI analysis of chest radiographs. {RESEARCH_USE_ONLY} Calibration: "
        f"{algorithm.calibration_text()}"
    )
    ds.ContributingEquipmentSequence = [item]


def _name_equipment(ds: Dataset, algorithm: Algorithm) -> None:
    ds.Manufacturer = algorithm.manufacturer_name
    ds.ManufacturerModelName = algorithm.model_name
    ds.DeviceSerialNumber = algorithm.serial_number
    ds.SoftwareVersions = algorithm.software_version
