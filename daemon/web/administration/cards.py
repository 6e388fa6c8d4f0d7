"""Reads the card of the configured bundle, without its weights, and keeps the last good one."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cxr_model.errors import ModelError
from cxr_model.files.bundle_files import STARTER, parse_card, read_card
from cxr_model.files.reliability_file import Reliability, read_reliability
from daemon.config.sections.work import STARTER_BUNDLE, ModelConfig
from daemon.web.administration.model_views import CardView, card_view

KEEP_SECONDS = 10.0
"""Time for which the files are not read again."""


@dataclass(frozen=True, slots=True)
class CardReading:
    """The card, and why the files cannot be read now; the card is then that of an earlier time."""

    card: CardView | None
    problem: str = ""


class Cards:
    """The card of a bundle; thread-safe."""

    def __init__(
        self, config: ModelConfig, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = STARTER if config.bundle == STARTER_BUNDLE else Path(config.bundle)
        self._now = monotonic
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._reading = CardReading(None)

    def read(self) -> CardReading:
        """Return the card, which may be up to KEEP_SECONDS old."""
        with self._lock:
            if self._now() >= self._until:
                try:
                    self._reading = CardReading(_read(self._folder))
                except ModelError as error:
                    self._reading = CardReading(self._reading.card, str(error))
                self._until = self._now() + KEEP_SECONDS
            return self._reading


def _read(folder: Path) -> CardView:
    data = read_card(folder)
    sha256 = hashlib.sha256(data).hexdigest()
    reliability: Reliability | None = None
    problem = ""
    try:
        reliability = read_reliability(folder, sha256)
    except ModelError as error:
        problem = str(error)
    return card_view(parse_card(data), sha256, reliability, problem)
