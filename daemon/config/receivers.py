"""Receivers of results: name, kinds of result, sources and the form of the pictures."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from daemon.config.fields import Section, SourceName, checked_source
from daemon.config.picture_form import (
    DEFAULT_MAX_SIDE,
    LARGEST_MAX_SIDE,
    SMALLEST_MAX_SIDE,
    PictureForm,
)


class Product(StrEnum):
    """A kind of result that a peer can receive."""

    REPORT = "report"
    HEATMAP = "heatmap"
    SUMMARY = "summary"
    PRESENTATION_STATE = "presentation_state"
    SEGMENTATION = "segmentation"


class PictureSyntax(StrEnum):
    """Encoding that a peer prefers for pictures; uncompressed if the peer does not accept it."""

    UNCOMPRESSED = "uncompressed"
    RLE = "rle"
    HTJ2K = "htj2k"
    JPEG_2000 = "jpeg_2000"
    JPEG_BASELINE = "jpeg_baseline"


class ResultsOf(StrEnum):
    """Results that a peer receives, where `results_of` lists no sources."""

    OWN = "own"
    ALL = "all"


def _checked_results_of(value: object) -> object:
    """Return `own`, `all`, None or a tuple of distinct source names. Raises ValueError."""
    if value is None or value in list(ResultsOf):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        return tuple(dict.fromkeys(checked_source(item) for item in value))
    raise ValueError("must be own, all, or a list of sources such as [north, south]")


class ReceiverConfig(Section):
    """A receiver of results: a DICOM node, or another system.

    With `comparison` its reports name the AI reports on earlier studies of the patient.
    """

    name: str = Field(min_length=1)
    receives: tuple[Product, ...] = ()
    source: SourceName | None = None
    results_of: Annotated[
        ResultsOf | tuple[str, ...] | None, BeforeValidator(_checked_results_of)
    ] = None
    picture_syntax: PictureSyntax = PictureSyntax.UNCOMPRESSED
    picture_max_side: int | None = Field(
        default=DEFAULT_MAX_SIDE, ge=SMALLEST_MAX_SIDE, le=LARGEST_MAX_SIDE
    )
    comparison: bool = False

    @model_validator(mode="after")
    def _has_results_to_receive(self) -> Self:
        if self.results_of is not None and not self.receives:
            raise ValueError(
                f"{self.name} has results_of, but receives nothing: set receives,"
                " or leave results_of out"
            )
        if self.comparison and Product.REPORT not in self.receives:
            raise ValueError(
                f"{self.name} has comparison, but receives no report: add report to receives,"
                " or leave comparison out"
            )
        return self

    @property
    def effective_source(self) -> str:
        """The source of the films of this system: `source`, or its name."""
        return self.source if self.source is not None else self.name

    @property
    def picture_form(self) -> PictureForm:
        """The form of the pictures that it receives."""
        is_lossy = self.picture_syntax is PictureSyntax.JPEG_BASELINE
        return PictureForm(self.picture_max_side, is_lossy)
