"""How long to wait before the next try."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter.

    The wait doubles from `initial` to `maximum` seconds; a random quarter is taken off, so that
    what failed together does not return together.
    """

    initial: float
    maximum: float

    def seconds(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after failure number `attempt` (from 1)."""
        doubled = self.initial * 2.0 ** min(attempt - 1, 30)
        return min(doubled, self.maximum) * rng.uniform(0.75, 1.0)
