"""The picture check: a picture of any size → `Appearance`, in NumPy and without torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from cxr_model.check.appearance import Appearance, View
from cxr_model.check.card import CheckCard
from cxr_model.check.description import TURNS, copies, describe, put_right, standard
from cxr_model.check.head import Floats, Head, softmax
from cxr_model.check.mirror_network import MirrorNetwork
from cxr_model.errors import BundleError
from cxr_model.files.regular_file import MB, read_inside
from cxr_model.files.tensor_file import check_header

CARD_FILE = "picture_check.json"
WEIGHTS_FILE = "picture_check.safetensors"
VIEWS = (View.FRONTAL, View.LATERAL, View.OTHER)

#: The folder of the check that comes with the package.
SHIPPED = Path(__file__).resolve().parents[1] / "starter"

_LARGEST = 8 * MB


@dataclass(frozen=True, slots=True, eq=False)
class Probabilities:
    """Probabilities of one picture: per view, per turn (0, 90, 180, 270), mirrored, inverted."""

    views: NDArray[np.float64]
    turns: NDArray[np.float64]
    mirrored: float
    inverted: float


@dataclass(frozen=True, slots=True, eq=False)
class PictureCheck:
    """Networks for orientation, mirror image and view, with their card.

    `orientation` scores the 16 copies of a description, `mirror` reads the picture put upright,
    `view` the upright copy and its mirror image, whose probabilities are averaged.
    """

    card: CheckCard
    orientation: Head
    mirror: MirrorNetwork
    view: Head

    @classmethod
    def load(cls, path: Path = SHIPPED) -> Self:
        """Read and verify the check in folder `path`.

        Raises BundleError in one line if a file is missing, altered, malformed or not finite.
        """
        try:
            card = CheckCard.from_bytes(read_inside(path, CARD_FILE, _LARGEST, BundleError))
            data = read_inside(path, WEIGHTS_FILE, _LARGEST, BundleError)
            found = hashlib.sha256(data).hexdigest()
            if found != card.sha256:
                raise BundleError(
                    f"{WEIGHTS_FILE} is not the file of {CARD_FILE}: sha256 is {found[:12]}…, the "
                    f"card says {card.sha256[:12]}…; train or install the check again"
                )
            return cls.from_tensors(card, data)
        except BundleError as error:
            raise BundleError(f"picture check: {error}") from error

    @classmethod
    def from_tensors(cls, card: CheckCard, data: bytes) -> Self:
        """Join a card to the bytes of its weights. Raises BundleError if they are malformed."""
        check_header(data)
        try:
            tensors = load_tensors(data)
        except (SafetensorError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BundleError(f"{WEIGHTS_FILE} is malformed: {reason}") from error
        return cls(
            card,
            Head.from_tensors(tensors, "orientation", 1),
            MirrorNetwork.from_tensors(tensors),
            Head.from_tensors(tensors, "view", len(VIEWS)),
        )

    def examine(self, image: NDArray[np.uint8]) -> Appearance:
        """Return the subject of a picture and the way it is shown.

        `image` is grey and display-true, shape (rows, cols), of any size. Raises ImageError if the
        array has another shape.
        """
        return self.decide(self.probabilities(standard(image)))

    def probabilities(self, grey: Floats) -> Probabilities:
        """Return the probabilities of a standard picture, shape (SIDE, SIDE)."""
        ways = copies(describe(grey))
        orientation = softmax(self.orientation.scores(ways).ravel()).reshape(2, 2, 4)
        upright = orientation.sum(axis=1)
        inverted, turn = (int(i) for i in np.unravel_index(np.argmax(upright), upright.shape))
        odds = self.mirror.score(put_right(grey, turn, bool(inverted)))
        both = ways[[turn + 8 * inverted, turn + 4 + 8 * inverted]]
        return Probabilities(
            views=softmax(self.view.scores(both)).mean(axis=0),
            turns=upright.sum(axis=0),
            mirrored=float(softmax(np.array([0.0, odds]))[1]),
            inverted=float(upright[1].sum()),
        )

    def decide(self, probabilities: Probabilities) -> Appearance:
        """Apply the card's thresholds."""
        limits = self.card.thresholds
        views = probabilities.views
        view = 0 if views[0] >= limits.frontal else 1 + int(np.argmax(views[1:]))
        turn = int(np.argmax(probabilities.turns))
        mirrored, inverted = probabilities.mirrored, probabilities.inverted
        return Appearance(
            view=VIEWS[view],
            view_probability=float(views[view]),
            turned=TURNS[turn],
            turned_certain=bool(probabilities.turns[turn] >= limits.turned_certain),
            mirrored=mirrored >= limits.mirrored,
            mirrored_certain=_certain(mirrored, limits.mirrored, limits.mirrored_certain),
            inverted=inverted >= 0.5,
            inverted_certain=_certain(inverted, 0.5, limits.inverted_certain),
        )


def _certain(probability: float, threshold: float, limit: float) -> bool:
    chosen = probability if probability >= threshold else 1.0 - probability
    return chosen >= limit
