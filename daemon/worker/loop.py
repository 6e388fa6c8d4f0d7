"""The loop of a role: a step, a wait, the next step."""

import datetime
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.worker.redaction import error_text


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


class Loop:
    """Repeats a step until `stop` is set; logs every error of the step and goes on.

    An error must not end the loop: the role would look healthy while its work is not done.
    """

    def __init__(
        self,
        name: str,
        log: logging.Logger,
        stop: threading.Event,
        backoff: Backoff,
    ) -> None:
        self._name = name
        self._log = log
        self._stop = stop
        self._backoff = backoff
        self._failures = 0

    def run(self, step: Callable[[], float]) -> None:
        """Repeat `step`, which returns the seconds to wait after it."""
        while not self._stop.is_set():
            self._stop.wait(self.attempt(step))

    def attempt(self, step: Callable[[], float]) -> float:
        """Run `step` once. Return the seconds to wait, after an error those of the backoff."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001 - see the class
            wait = self.next_wait()
            self._log.error(
                "%s: %s; the next try is in %.1f s", self._name, error_text(error), wait
            )
            return wait

    def next_wait(self) -> float:
        """Count a failure. Return the seconds to wait before the next try."""
        self._failures += 1
        return self._backoff.seconds(self._failures)

    def succeeded(self) -> None:
        """Start the backoff again from its initial wait."""
        self._failures = 0


def from_now(seconds: float) -> datetime.datetime:
    """Return the UTC time that is `seconds` from now."""
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
