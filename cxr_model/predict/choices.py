"""Choices that a command line offers; this module imports no numeric library."""

from enum import StrEnum


class Device(StrEnum):
    """Device that runs a network; AUTO is a GPU if there is one, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class EngineName(StrEnum):
    """Library that runs a network; AUTO is chosen by the device and by the libraries installed."""

    AUTO = "auto"
    ONNX_RUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH = "torch"


class Method(StrEnum):
    """Family of the calibration curve of a label."""

    IDENTITY = "identity"
    PLATT = "platt"
    BETA = "beta"
    ISOTONIC = "isotonic"


class Sharing(StrEnum):
    """Way of fitting the curves of all labels together.

    COMMON gives all labels one slope. PLATT and BETA pull the parameters of each label towards
    their common values. ISOTONIC and IDENTITY share nothing.
    """

    IDENTITY = "identity"
    COMMON = "common"
    PLATT = "platt"
    BETA = "beta"
    ISOTONIC = "isotonic"


class Prevalence(StrEnum):
    """Prevalence that probabilities hold for: of the films of the fit, or of all NIH films."""

    SAMPLE = "sample"
    NIH = "nih"
