"""What can go wrong with a model, its data or its training.

    ModelError
    ├── ImageError              an array that is not a greyscale image
    ├── BundleError             a bundle that is missing, incomplete, altered or of another format
    ├── CheckpointError         somebody else's checkpoint that cannot become a bundle
    ├── DownloadError           published weights that could not be fetched whole and unaltered
    ├── CalibrationError        calibration or scoring that cannot be done honestly on this data
    ├── DeviceError             the asked-for device is not on this machine
    └── DataError               label tables or image folders that cannot be used
        ├── PatientOverlapError the same patient on both sides of a split
        └── TrainingError       a training that cannot start, resume or go on

Every error carries ``retryable``: whether doing the same again, unchanged, can help.
"""

from typing import ClassVar


class ModelError(Exception):
    """Base of every error raised in this package."""

    retryable: ClassVar[bool] = False


class ImageError(ModelError):
    """The array is not a greyscale image this package can analyse."""


class BundleError(ModelError):
    """The bundle is missing, incomplete, altered or of a format this software does not read."""


class CheckpointError(ModelError):
    """The checkpoint cannot be turned into a bundle without guessing."""


class DownloadError(ModelError):
    """The file could not be fetched; what has arrived is kept and the same call goes on from it."""

    retryable = True


class CalibrationError(ModelError):
    """The predictions cannot be calibrated or scored honestly."""


class DeviceError(ModelError):
    """The device that was asked for is not available here."""


class DataError(ModelError):
    """The label table or the image folder cannot be used."""


class PatientOverlapError(DataError):
    """The same patient is in two parts of a split that must be disjoint."""


class TrainingError(DataError):
    """The training cannot start, resume or go on with what it was given."""
