"""A film drawn by whole numbers, the same on every machine.

A card records the outputs of its network for this film. A machine that computes other outputs, or
a bundle whose input or weights were mixed up, is found before the first patient's film.
"""

import numpy as np
import numpy.typing as npt

#: Name of the recipe. A film drawn in another way needs another name.
REFERENCE_FILM = "cxrd-reference-film/1"

_ROWS, _COLS = 320, 288
_MODULUS, _FACTOR, _STEP = 65_521, 17_364, 12_345


def reference_film() -> npt.NDArray[np.uint8]:
    """Return the film, uint8 (320, 288): two dark lungs in a bright body, ribs and grain."""
    y, x = np.mgrid[0:_ROWS, 0:_COLS].astype(np.int64)
    film = 150 + (y * 40) // _ROWS
    film[np.abs(x - _COLS // 2) < 26] += 40
    for centre in (84, _COLS - 84):
        lung = 81 * (x - centre) ** 2 + 25 * (y - 150) ** 2 < 81 * 25 * 100
        film[lung] -= 95
    ribs = (y + (x - _COLS // 2) ** 2 // 160) % 36 < 7
    film[ribs] += 18
    heart = 4 * (x - 164) ** 2 + 9 * (y - 205) ** 2 < 4 * 9 * 300
    film[heart] += 60
    return np.asarray(np.clip(film + _grain(), 0, 255), dtype=np.uint8)


def reference_sentence(difference: float | None) -> str:
    """Return the result of `Predictor.check_reference` in words."""
    if difference is None:
        return "not verified: the card records no outputs for the reference film"
    return f"verified: the reference film gives the card's outputs within {difference:.1g}"


def _grain() -> npt.NDArray[np.int64]:
    # 17,364 * 65,520 fits 64 bits, so no machine rounds.
    places = np.arange(_ROWS * _COLS, dtype=np.int64) % _MODULUS
    mixed = (places * _FACTOR + _STEP) % _MODULUS
    mixed = (mixed * mixed + places) % _MODULUS
    return (mixed % 21 - 10).reshape(_ROWS, _COLS)
