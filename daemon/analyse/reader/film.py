"""A film as a reader process hands it on, and a file that is refused."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_model.predict.transform import NetworkInput
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rejection_note import Rejection
from dicom_io.read.orientation import Pose
from dicom_io.read.tone import DECLARED, Tone

GreyImage = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that is not analysed: the named reason, and its cause in this object.

    `rejection` is what a rejection note says.
    """

    reason: Reason
    detail: str
    notes: tuple[str, ...] = ()
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parts of a film that its caller needs.

    The longer side of the picture has at most `picture_side` pixels; None asks for the full size.
    `shown` asks for the stored values that determine the contrast.
    """

    picture_side: int | None = None
    shown: bool = False


FULL_SIZE = Wanted()


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A film that passed gate and picture check.

    `picture` (h, w) is display-true, 0 black and 255 white. It covers the stored grid of `rows` x
    `columns` pixels, reduced as `Wanted` says. `pose` makes it upright. `input` is the network's
    input, made of the upright film in full size. `notes` are those of gate, decoder and picture
    check. `tone` is the departure from the grey scale of the header. `shown` are the stored values
    that determine the contrast, ascending: None unless they were wanted, for colour, and for a
    range of more than 2^20 values.
    """

    picture: GreyImage
    rows: int
    columns: int
    input: NetworkInput
    notes: tuple[str, ...]
    pose: Pose
    tone: Tone = DECLARED
    shown: NDArray[np.int64] | None = None
