"""Settings of the random changes to a film during training."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Limits of each random change; with all at zero the film stays as it is.

    `rotation` is in degrees, `shift` and the width of a rim are shares of the side. `blur`,
    `erase`, `squeeze`, `letterbox`, `rim` and `window` are probabilities: a film keeps the squeezed
    proportions of its file, gets wider black margins on two sides, a black rim on all, and a
    narrower window of grey values.
    """

    rotation: float = 10.0
    scale: float = 0.12
    shift: float = 0.06
    gamma: float = 0.3
    contrast: float = 0.2
    brightness: float = 0.1
    blur: float = 0.2
    noise: float = 0.02
    erase: float = 0.2
    squeeze: float = 0.25
    letterbox: float = 0.25
    rim: float = 0.2
    window: float = 0.4
