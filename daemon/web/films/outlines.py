"""The outlines of findings on the upright film, as shares of its width and height."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.records import Instance

if TYPE_CHECKING:
    from daemon.web.films.pictures import ShownPicture
    from dicom_io.read.orientation import Pose


@dataclass(frozen=True, slots=True)
class Outline:
    """The hottest region of a finding's map.

    `points` are (x, y) from (0, 0), the upper left corner of the upright film, to (1, 1).
    """

    finding: str
    probability: float
    threshold: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Outlines:
    """The outlines of a film, and its size upright in pixels."""

    film: int
    rows: int
    columns: int
    outlines: tuple[Outline, ...]


def outlines_of(film: Instance, picture: "ShownPicture") -> Outlines:
    """Return the outlines of a film's findings; `picture` says how the film lies."""
    stored = picture.stored_rows, picture.stored_columns
    rows, columns = picture.pose.display_shape(*stored)
    outlines = tuple(
        Outline(
            finding.label,
            finding.probability,
            finding.threshold,
            tuple(_upright(point, picture.pose, *stored) for point in finding.region),
        )
        for finding in film.findings
        if finding.region is not None
    )
    return Outlines(film.id, rows, columns, outlines)


def _upright(
    point: tuple[float, float], pose: "Pose", rows: int, columns: int
) -> tuple[float, float]:
    """Return a point (column, row) of the stored grid as shares of the upright film."""
    x, y = point[0] / columns, point[1] / rows
    if pose.transposed:
        x, y = y, x
    x = 1 - x if pose.columns_reversed else x
    y = 1 - y if pose.rows_reversed else y
    return round(x, 5), round(y, 5)
