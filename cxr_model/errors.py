"""Errors of models, their data and their training.

    ModelError
    ├── ImageError              an array or a file that is not a greyscale image
    │   └── SeveralImagesError  a file of several images, none of which is the only film
    ├── BundleError             a missing, incomplete or altered bundle, or one of another format
    ├── ModelOutputError        an output of a network that is not a finite number
    ├── CheckpointError         a checkpoint that cannot become a bundle
    ├── DownloadError           published weights that could not be downloaded or verified
    ├── CalibrationError        predictions that cannot be calibrated or scored
    ├── EngineError             an engine that is not installed or cannot run the network
    │   └── DeviceError         a device that this machine or the engine does not have
    └── DataError               unusable label tables or image folders
        ├── PatientOverlapError a patient in two parts of a split
        └── TrainingError       settings, data or a checkpoint that cannot train

Every error has ``retryable``: True if the same call can succeed later.
"""

from typing import ClassVar


class ModelError(Exception):
    """Base of every error raised in this package."""

    retryable: ClassVar[bool] = False


class ImageError(ModelError):
    """The array or the file is not a greyscale image that this package can analyse."""


class SeveralImagesError(ImageError):
    """The file holds several images, and the only film cannot be told from the others."""


class BundleError(ModelError):
    """The bundle is missing, incomplete or altered, or has an unknown format."""


class ModelOutputError(ModelError):
    """The network's output for `image`, a position in the call's images, is not a result."""

    def __init__(self, image: int, reason: str) -> None:
        super().__init__(reason)
        self.image = image


class CheckpointError(ModelError):
    """The checkpoint cannot be converted to a bundle with certainty."""


class DownloadError(ModelError):
    """The file could not be downloaded; received bytes are kept and the same call resumes."""

    retryable = True


class CalibrationError(ModelError):
    """The predictions cannot be calibrated or scored."""


class EngineError(ModelError):
    """The engine is not installed, or it cannot run the network."""


class DeviceError(EngineError):
    """The requested device is unavailable."""


class DataError(ModelError):
    """The label table or the image folder is unusable."""


class PatientOverlapError(DataError):
    """A patient is in two parts of a split that must be disjoint."""


class TrainingError(DataError):
    """The training cannot start, resume or continue."""


def first_line(error: object) -> str:
    """Return the first line of an error's text; its type, if it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0]
