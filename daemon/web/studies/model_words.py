"""The configured model in words: operating point, calibration, and how far its maps are right."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr_model.errors import BundleError
from cxr_model.files.bundle_files import CARD_FILE, STARTER, read_card
from daemon.analyse.location import location_sentence
from daemon.analyse.operating_point import false_calls_sentence, operating_point_sentence
from daemon.config.sections.work import STARTER_BUNDLE
from daemon.config.settings import Config


@dataclass(frozen=True, slots=True)
class ModelWords:
    """The card of a model in sentences. `locations` are by label, without a full stop."""

    sha256: str
    intended_use: str
    operating_point: str
    false_calls: str
    is_calibrated: bool
    calibration: str
    locations: Mapping[str, str]


class ModelCard:
    """The card of the configured bundle; read again when its file has changed."""

    def __init__(self, config: Config) -> None:
        bundle = config.model.bundle
        self._folder = STARTER if bundle == STARTER_BUNDLE else Path(bundle)
        self._lock = threading.Lock()
        self._mark: tuple[int, int, int] | None = None
        self._words: ModelWords | None = None

    def words(self) -> ModelWords | None:
        """Return the card in words; None if the bundle cannot be read now."""
        try:
            found = (self._folder / CARD_FILE).stat()
            mark = found.st_ino, found.st_size, found.st_mtime_ns
            with self._lock:
                if mark != self._mark:
                    self._words, self._mark = _read(self._folder), mark
                return self._words
        except (BundleError, OSError):
            return None


def _read(folder: Path) -> ModelWords:
    # Loaded with the first card, as numpy comes with it.
    from cxr_model.predict.card import Card

    data = read_card(folder)
    card = Card.from_bytes(data)
    return ModelWords(
        sha256=hashlib.sha256(data).hexdigest(),
        intended_use=card.intended_use,
        operating_point=operating_point_sentence(card.operating_point),
        false_calls=false_calls_sentence(card.operating_point),
        is_calibrated=card.calibrated,
        calibration=card.calibration_words(),
        locations={label: location_sentence(card.metrics, label) for label in card.labels},
    )
