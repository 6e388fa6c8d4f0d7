"""Gives a squeezed picture the proportions of its film again."""

import cv2
import numpy as np
import numpy.typing as npt

# Proportions that differ by less are those of the picture.
_SAME = 0.01


def unsqueezed(image: npt.NDArray[np.uint8], aspect: float | None) -> npt.NDArray[np.uint8]:
    """Return the picture (rows, cols) with width / height = `aspect`; its longer side stays.

    NIH scaled all films of ChestX-ray14 to 1024 x 1024 pixels, and most of them were not square.
    With `aspect` None the picture is returned as it is.
    """
    rows, cols = image.shape
    if aspect is None or abs(aspect * rows / cols - 1) < _SAME:
        return image
    longer = max(rows, cols)
    width, height = (
        (round(longer * aspect), longer) if aspect < 1 else (longer, round(longer / aspect))
    )
    resized = cv2.resize(image, (max(1, width), max(1, height)), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)
