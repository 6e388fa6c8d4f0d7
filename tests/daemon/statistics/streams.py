"""Streams of films with a stated distribution, for tests of drift.

The log-odds of a film are those of its patient plus its own, each a mixture of independent normal
values by one matrix, so that findings go together; 0.6 of the variance is the patient's. A patient
has one film with probability 0.6, otherwise two or more (geometric, 3.3 more on average). Calls are
log-odds at or above -1, about one film in nine.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FINDINGS = 14
OF_PATIENT = 0.6
THRESHOLD = -1.0
_MATRIX = np.eye(FINDINGS) + 0.35 * np.random.default_rng(14).normal(size=(FINDINGS, FINDINGS))


@dataclass(frozen=True)
class Stream:
    """Films in order: log-odds and calls, shape (films, 14), and the numbers of their patients."""

    log_odds: NDArray[np.float32]
    patients: NDArray[np.int64]

    @property
    def calls(self) -> NDArray[np.bool_]:
        return self.log_odds >= THRESHOLD

    def part(self, first: int, last: int) -> "Stream":
        return Stream(self.log_odds[first:last], self.patients[first:last])

    def shifted(self, first: int, finding: int, deviations: float) -> "Stream":
        """Return the stream with one finding moved from film `first` on."""
        moved = self.log_odds.copy()
        moved[first:, finding] += deviations * self.log_odds[:, finding].std()
        return replace(self, log_odds=moved)


def stream(random: np.random.Generator, films: int, *, apart: float = 0.0) -> Stream:
    """Draw a stream; films of one patient are neighbours, or lie `apart` films from each other."""
    sizes = 1 + (random.random(films) < 1 - OF_PATIENT) * random.geometric(0.3, films)
    patients = np.repeat(np.arange(films), sizes)
    own = random.normal(size=(len(patients), FINDINGS)) * (1 - OF_PATIENT) ** 0.5
    common = random.normal(size=(films, FINDINGS))[patients] * OF_PATIENT**0.5
    begin = np.repeat(np.cumsum(sizes) - sizes, sizes)
    order = np.argsort(begin + apart * (np.arange(len(patients)) - begin), kind="stable")[:films]
    log_odds = ((own + common) @ _MATRIX.T * 1.2 - 2.5)[order]
    return Stream(log_odds.astype(np.float32), patients[order].astype(np.int64))
