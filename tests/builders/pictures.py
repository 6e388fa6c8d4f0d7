"""Drawn films as the grey pictures that a model sees."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.phantom import PhantomFilm, draw


def film_picture(**drawn: Any) -> NDArray[np.uint8]:
    """A synthetic film (rows, cols) of 8 bits."""
    values = {"patient_id": "1", "study": "1.2", "rows": 256, "columns": 224, **drawn}
    return np.asarray(draw(PhantomFilm(**values)) >> 4, dtype=np.uint8)
