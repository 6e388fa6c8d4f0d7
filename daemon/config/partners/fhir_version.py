"""The versions of FHIR in which a destination can receive results."""

from enum import StrEnum


class FhirVersion(StrEnum):
    """A version of FHIR; the value is the name in config.yaml.

    The resources of R4B that are made here are the same in R4 (4.0), which more servers run.
    """

    R5 = "R5"
    R4B = "R4B"

    def fits(self, number: str) -> bool:
        """Return True if a server of this `fhirVersion` takes resources of this version."""
        return number.startswith(_NUMBERS[self])


_NUMBERS = {FhirVersion.R5: ("5.0.",), FhirVersion.R4B: ("4.3.", "4.0.")}
