"""One picture in every form a PACS may send: the same display and the same findings."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cxr_model.engine.choice import open_predictor
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.prediction import Prediction
from daemon.analyse.reader.film import Film
from tests.builders.images.film_matrix import (
    DEPTHS,
    GREY,
    LOSSLESS,
    LUTS,
    ORIENTATIONS,
    Case,
    Headers,
    Picture,
    build,
    cases,
    picture_of,
)
from tests.builders.made_checks import PLAIN

CASES = cases()

# Mean error in grey levels. JPEG at quality 95 stays below one, with 12 bits far below.
# Near-lossless JPEG-LS may change a stored value by 2, which in 8 bits are levels. JPEG 2000 is
# written at 45 dB, an RMS error of 255 * 10 ** (-45 / 20) levels, and the narrowest window shows
# 0.7 of the range.
LOSSY_MEAN_ERROR = {
    "jpeg-baseline": 1.0,
    "jpeg-extended": 0.1,
    "jpeg-ls-near": 2.0,
    "jpeg2000-lossy": 255 * 10 ** (-45 / 20) / 0.7,
}


class Studio:
    """Builds, gates, decodes and predicts every case once."""

    def __init__(self, data: Path, scratch: Path) -> None:
        self._predictor = open_predictor(Bundle.load(STARTER), device="cpu")
        self._pictures = [
            picture_of(path) for path in sorted((data / "nih" / "full").glob("*.png"))
        ]
        self._headers = Headers(data / "dicom")
        self._scratch = scratch
        self._films: dict[Case, Film] = {}
        self._answers: dict[bytes, Prediction] = {}

    def picture(self, case: Case) -> Picture:
        """Return the expected display of the film."""
        return self._pictures[case.source % len(self._pictures)]

    def film(self, case: Case) -> Film:
        """Return the film after gate and decoder."""
        if case not in self._films:
            header = self._headers.row(case.source)
            data = build(case, self.picture(case), header, self._scratch)
            film = PLAIN.read(data)
            assert isinstance(film, Film), film
            self._films[case] = film
        return self._films[case]

    def answer(self, upright: Picture) -> Prediction:
        """Return the prediction of the model; identical pictures are predicted once."""
        key = upright.tobytes()
        if key not in self._answers:
            (self._answers[key],) = self._predictor.predict([upright])
        return self._answers[key]


@pytest.fixture(scope="module")
def studio(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(data_folder, tmp_path_factory.mktemp("films"))


def test_the_matrix_has_every_pair() -> None:
    assert len(CASES) >= 200
    assert len({str(case) for case in CASES}) == len(CASES)
    grey = [case for case in CASES if case.photometric in GREY and not case.is_lossy]
    pairs = {
        ("syntax", "lut"): product(LOSSLESS, LUTS),
        ("syntax", "depth"): product(LOSSLESS, DEPTHS),
        ("syntax", "photometric"): product(LOSSLESS, GREY),
        ("syntax", "orientation"): product(LOSSLESS, ORIENTATIONS),
        ("lut", "orientation"): product(LUTS, ORIENTATIONS),
        ("lut", "photometric"): product(LUTS, GREY),
        ("depth", "lut"): product(DEPTHS[1:], LUTS),
    }
    for (one, other), wanted in pairs.items():
        met = {(getattr(case, one), getattr(case, other)) for case in grey}
        assert set(wanted) <= met, (one, other, sorted(set(wanted) - met))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_display_equals_the_picture(studio: Studio, case: Case) -> None:
    film = studio.film(case)
    upright = film.pose.to_display(film.picture)
    error = np.abs(upright.astype(int) - studio.picture(case))
    if case.is_lossy:
        assert error.mean() <= LOSSY_MEAN_ERROR[case.syntax]
    else:
        assert error.max() <= 1


@pytest.mark.parametrize("case", [case for case in CASES if not case.is_lossy], ids=str)
def test_the_findings_equal_those_of_the_picture(studio: Studio, case: Case) -> None:
    film = studio.film(case)
    found = studio.answer(film.pose.to_display(film.picture)).findings
    wanted = studio.answer(studio.picture(case)).findings
    moved = [abs(a.probability - b.probability) for a, b in zip(found, wanted, strict=True)]
    assert max(moved) < 0.02
