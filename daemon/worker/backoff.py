"""Waits between retries: exponential backoff with jitter."""

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter.

    The wait doubles from `initial` to `maximum` seconds. Jitter takes off up to a quarter, so that
    clients that failed together do not retry together.
    """

    initial: float
    maximum: float
    rng: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def seconds(self, attempt: int) -> float:
        """Return the seconds to wait after failure number `attempt` (from 1)."""
        doubled = self.initial * 2.0 ** min(attempt - 1, 30)
        return min(doubled, self.maximum) * self.rng.uniform(0.75, 1.0)
