"""Choices that a command line offers; this module imports no numeric library."""

from enum import StrEnum


class Device(StrEnum):
    """Device that runs a network; AUTO is a GPU if there is one, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Method(StrEnum):
    """Method of calibrating a label."""

    IDENTITY = "identity"
    PLATT = "platt"
    BETA = "beta"
    ISOTONIC = "isotonic"
