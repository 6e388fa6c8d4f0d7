"""Sets of patients as salted digests: they detect an overlap without storing identifiers."""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cxr_model.errors import BundleError, PatientOverlapError

# 64 bits of each digest: two of a million patients share one with a chance of 1 in 10 million.
_BYTES = 8


@dataclass(frozen=True, slots=True)
class PatientSet:
    """Salted, shortened digests of patient identifiers.

    The salt prevents linking a patient between two files. An identifier can still be found by
    trying candidates, so the file is as confidential as the table it came from.
    """

    salt: bytes
    digests: frozenset[bytes]

    @classmethod
    def of(cls, patients: Iterable[str], salt: bytes | None = None) -> Self:
        """Return the set of these patients; without `salt` a new random one is used."""
        chosen = secrets.token_bytes(16) if salt is None else salt
        return cls(chosen, frozenset(_digest(chosen, patient) for patient in set(patients)))

    def __len__(self) -> int:
        return len(self.digests)

    def joined(self, patients: Iterable[str]) -> "PatientSet":
        """Return this set with `patients` added, under the same salt."""
        return PatientSet(self.salt, self.digests | PatientSet.of(patients, self.salt).digests)

    def holds(self, patient: str) -> bool:
        """Return True if the patient is in the set."""
        return _digest(self.salt, patient) in self.digests

    def refuse(
        self,
        patients: npt.NDArray[np.object_] | Iterable[str],
        fitted: str = "the calibration",
    ) -> None:
        """Raise PatientOverlapError if the set has one of `patients`; `fitted` names its owner."""
        both = self.digests & PatientSet.of(patients, self.salt).digests
        if both:
            raise PatientOverlapError(
                f"{fitted} was fitted on {len(both)} of these patients; "
                "use it on, and score it with, other patients"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the number of patients, and salt and digests in base64."""
        return {
            "patients": len(self.digests),
            "salt": base64.b64encode(self.salt).decode(),
            "digests": base64.b64encode(b"".join(sorted(self.digests))).decode(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the output of `to_json`. Raises KeyError, TypeError or ValueError."""
        salt = base64.b64decode(content["salt"], validate=True)
        joined = base64.b64decode(content["digests"], validate=True)
        digests = frozenset(joined[i : i + _BYTES] for i in range(0, len(joined), _BYTES))
        if len(digests) * _BYTES != len(joined) or len(digests) != content["patients"]:
            raise ValueError("the digests of the patients are damaged")
        return cls(salt, digests)


def recorded_sets(origin: Any) -> list[PatientSet]:
    """Return the sets that a part of a card's provenance names as `fitted_on`.

    Raises BundleError, in one line, if they are malformed.
    """
    try:
        return [PatientSet.from_json(content) for content in origin.get("fitted_on", ())]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"the card's fitted_on is malformed ({error}); fetch or train the bundle again"
        ) from error


def _digest(salt: bytes, patient: str) -> bytes:
    return hashlib.sha256(salt + patient.encode()).digest()[:_BYTES]
