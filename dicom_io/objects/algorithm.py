"""The algorithm behind an object, and how an object names it."""

from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io.objects.codes import PROCESSING_EQUIPMENT
from dicom_io.objects.uids import device_uid

RESEARCH_USE_ONLY = "RESEARCH USE ONLY. Not for clinical use: not for diagnosis or treatment."

_LONG_STRING = 64


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A model as its bundle describes it.

    `sha256` is the bundle's, in full. `calibration` says how a logit became a probability and
    `calibration_version` which curves they were, `operating_point` how the thresholds were chosen,
    `intended_use` what the model is for, `parameters` anything else worth naming.
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

    def described_parameters(self) -> tuple[str, ...]:
        """Lines for Algorithm Parameters (111002, DCM), the research notice first."""
        return (
            RESEARCH_USE_ONLY,
            f"Intended use: {plain(self.intended_use)}",
            f"Model bundle sha256: {self.sha256}",
            f"Calibration: {plain(self.described_calibration())}",
            *(plain(parameter) for parameter in self.parameters),
        )

    def described_calibration(self) -> str:
        """How a logit became a probability, and by which version of the curves."""
        version = f", version {self.calibration_version}" if self.calibration_version else ""
        return self.calibration + version


def plain(text: str) -> str:
    """Text that every DICOM character repertoire can hold.

    The objects keep the source's SpecificCharacterSet so that names stay as they are. In some of
    those sets (ISO_IR 13) a backslash and a tilde are other characters, and only the rest of
    ASCII is safe in all of them.
    """
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    return ascii_text.replace("\\", "/").replace("~", "-")


def long_string(text: str) -> str:
    """Text cut to the 64 characters of an LO value (PS3.5 6.2)."""
    return plain(text).strip()[:_LONG_STRING]


def add_equipment(ds: Dataset, algorithm: Algorithm) -> None:
    """Fill General Equipment (PS3.3 C.7.5.1) and name the algorithm as contributing equipment."""
    _name_equipment(ds, algorithm)
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [PROCESSING_EQUIPMENT.item()]
    _name_equipment(item, algorithm)
    item.DeviceUID = device_uid(algorithm.sha256)
    item.ContributionDescription = plain(
        f"AI analysis of chest radiographs. {RESEARCH_USE_ONLY} Calibration: "
        f"{algorithm.described_calibration()}"
    )[:1024]
    ds.ContributingEquipmentSequence = [item]


def _name_equipment(ds: Dataset, algorithm: Algorithm) -> None:
    ds.Manufacturer = long_string(algorithm.manufacturer)
    ds.ManufacturerModelName = long_string(algorithm.name)
    # A SHA-256 in hexadecimal is exactly as long as an LO value may be.
    ds.DeviceSerialNumber = long_string(algorithm.sha256)
    ds.SoftwareVersions = long_string(algorithm.version)
