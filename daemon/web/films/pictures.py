"""Makes the pictures of a film, each once for all who look at it soon after another."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.analyse.heat import Heat
from daemon.analyse.png import encode_png
from daemon.analyse.reader.check_picture import PutRight
from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.look import Look, LookKind, Picture
from daemon.analyse.reader.look_messages import StoredPixels
from daemon.errors import HeatError
from daemon.web.films.cache import ByteCache
from daemon.web.films.film import (
    GoneError,
    UnreadableError,
    absence_of,
    read_film,
    read_object,
)
from daemon.web.films.readers import FilmReaders
from daemon.web.problems import NotFoundError
from daemon.web.site import Site
from dicom_io.gate.reasons import Reason
from dicom_io.read.orientation import Pose
from storage.records import Instance, InstanceState, ObjectRecord

_OVERHEAD = 1024
"""Bytes of a kept picture beside its file."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownPicture:
    """A picture as a PNG file; its stored grid, and the pose that makes that upright."""

    png: bytes
    rows: int
    columns: int
    stored_rows: int
    stored_columns: int
    pose: Pose
    notes: tuple[str, ...]


class FilmPictures:
    """Pictures of films; thread-safe."""

    def __init__(self, site: Site, readers: FilmReaders) -> None:
        self._site = site
        self._readers = readers
        self._kept: ByteCache[ShownPicture] = ByteCache(lambda one: len(one.png) + _OVERHEAD)

    def film(self, film: Instance, side: int | None) -> ShownPicture:
        """Return a film upright and display-true, its longer side at most `side` pixels.

        Raises UnreadableError if it cannot be decoded, BusyError, and as `read_film`.
        """
        right = _put_right(film)
        look = Look(LookKind.PICTURE, side, right.turned, right.inverted)
        return self._shown(film.sha256, look, lambda: read_film(self._site, film))

    def made(self, made: ObjectRecord, side: int | None) -> ShownPicture:
        """Return a picture made here as it is in its object. Raises as `film` does."""
        look = Look(LookKind.AS_STORED, side)
        return self._shown(made.sha256, look, lambda: read_object(self._site, made))

    def overlay(self, film: Instance, label: str, side: int | None, *, contour: bool) -> bytes:
        """Return the overlay of a finding as a transparent PNG on the pixels of `film`.

        Raises NotFoundError if no map of the finding is kept, and UnreadableError if it is damaged.
        """
        heat = self._heat(film, label)
        try:
            return encode_png(heat.overlay(side, contour=contour))
        except HeatError as error:
            raise UnreadableError(str(error)) from error

    def laid_over(self, film: Instance, label: str, side: int | None) -> bytes:
        """Return the film with the overlay of a finding as one PNG. Raises as both do."""
        heat = self._heat(film, label)
        right = _put_right(film)
        look = Look(LookKind.PICTURE, side, right.turned, right.inverted)
        picture = self._looked(look, lambda: read_film(self._site, film))
        try:
            drawn = heat.overlay(side)
        except HeatError as error:
            raise UnreadableError(str(error)) from error
        if drawn.shape[:2] != picture.pixels.shape[:2]:
            raise UnreadableError("the kept map does not fit the film: analyse the film again")
        return encode_png(_composed(picture.pixels, drawn))

    def pixels(self, film: Instance) -> StoredPixels:
        """Return the stored pixels of a film, whose pages the caller closes. Raises as `film`."""
        right = _put_right(film)
        look = Look(LookKind.PIXELS, None, right.turned, right.inverted)
        outcome = self._readers.look(read_film(self._site, film), look)
        if not isinstance(outcome, StoredPixels):
            raise _unreadable(outcome)
        return outcome

    def _heat(self, film: Instance, label: str) -> Heat:
        absence = absence_of(film)
        if absence:
            raise GoneError(absence)
        data = self._site.store.results.heat(film.id, label)
        if data is None:
            raise NotFoundError(
                "no map of this finding is kept: it is absent, its maps are withheld, or the film "
                "was analysed by an earlier version"
            )
        try:
            return Heat.decode(data)
        except HeatError as error:
            raise UnreadableError(str(error)) from error

    def _shown(self, sha256: str, look: Look, read: Callable[[], bytes]) -> ShownPicture:
        key = (sha256, look)
        found = self._kept.get(key)
        if found is None:
            picture = self._looked(look, read)
            found = ShownPicture(
                encode_png(picture.pixels),
                picture.pixels.shape[0],
                picture.pixels.shape[1],
                picture.stored_rows,
                picture.stored_columns,
                picture.pose,
                picture.notes,
            )
            self._kept.put(key, found)
        return found

    def _looked(self, look: Look, read: Callable[[], bytes]) -> Picture:
        outcome = self._readers.look(read(), look)
        if not isinstance(outcome, Picture):
            raise _unreadable(outcome)
        return outcome


def _put_right(film: Instance) -> PutRight:
    """Return what the analysis put right of the picture; nothing for a film not analysed."""
    return PutRight.by(film.notes) if film.state is InstanceState.ANALYSED else PutRight()


def _unreadable(outcome: object) -> UnreadableError:
    """Return the error for a file of which no picture can be made."""
    if not isinstance(outcome, Refusal):
        raise TypeError(f"a reader gave a {type(outcome).__name__}")
    if outcome.reason is Reason.DECODER_FAILED:
        return UnreadableError(f"this film cannot be shown: {outcome.detail}")
    return UnreadableError(f"no picture can be made of this file: {outcome.detail}")


def _composed(picture: NDArray[np.uint8], overlay: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a transparent picture over a grey one or one in colour."""
    below = picture[..., None] if picture.ndim == 2 else picture
    opacity = overlay[..., 3:].astype(np.float32) / 255
    laid = below * (1 - opacity) + overlay[..., :3] * opacity
    return np.asarray(np.rint(laid), dtype=np.uint8)
