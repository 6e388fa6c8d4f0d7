"""Finds the film of a URL, and reads its file."""

from daemon.web.problems import NotFoundError, WebError
from daemon.web.site import Site
from storage.errors import IntegrityError, UnknownRecordError
from storage.records import Instance, ObjectKind, ObjectRecord

_MOST_DIGITS = 18


class GoneError(WebError):
    """The film was here, and its file is no more."""

    status = 410


class UnreadableError(WebError):
    """The file is here, and no picture can be made of it."""

    status = 422


PICTURES = frozenset(
    {
        ObjectKind.HEATMAP,
        ObjectKind.SUMMARY,
        ObjectKind.HEATMAP_JPEG,
        ObjectKind.SUMMARY_JPEG,
    }
)
"""The kinds of objects that are pictures."""


def find_film(site: Site, study_uid: str, number: str, source: str | None) -> Instance:
    """Return the film of this number if it belongs to the study, and to the source if one is named.

    Raises NotFoundError.
    """
    missing = f"study {study_uid} has no film {number}"
    if not number.isascii() or not number.isdigit() or len(number) > _MOST_DIGITS:
        raise NotFoundError(missing)
    try:
        film = site.store.results.instance(int(number))
    except UnknownRecordError:
        raise NotFoundError(missing) from None
    if film.study_instance_uid != study_uid or source not in (None, film.source):
        raise NotFoundError(missing)
    return film


def read_film(site: Site, film: Instance) -> bytes:
    """Return the bytes of a film's file.

    Raises GoneError if the film was purged or set aside, NotFoundError if its file is missing or
    altered, and StorageError.
    """
    absence = absence_of(film)
    if absence:
        raise GoneError(absence)
    return _read(site, film.spool_path, film.sha256, "film")


def absence_of(film: Instance) -> str:
    """Return the reason why a film is not shown although it was received; empty for none."""
    if film.purged_at is not None:
        return (
            f"the file of this film was deleted on {film.purged_at:%Y-%m-%d}, after its retention "
            "time: send the film again to see it here"
        )
    if film.set_aside_at is not None:
        return (
            f"an operator set this film aside on {film.set_aside_at:%Y-%m-%d}: it belongs to no "
            "study here"
        )
    return ""


def find_object(film: Instance, sop_instance_uid: str) -> ObjectRecord:
    """Return the picture of this UID that was made of a film. Raises NotFoundError."""
    for made in film.objects:
        if made.sop_instance_uid == sop_instance_uid and made.kind in PICTURES:
            return made
    raise NotFoundError("this film has no such heatmap or summary")


def read_object(site: Site, made: ObjectRecord) -> bytes:
    """Return the bytes of an object made here. Raises as `read_film` does."""
    if made.purged_at is not None:
        raise GoneError(
            f"the file of this picture was deleted on {made.purged_at:%Y-%m-%d}, after its "
            "retention time"
        )
    return _read(site, made.spool_path, made.sha256, "picture")


def _read(site: Site, path: str, sha256: str, what: str) -> bytes:
    try:
        return site.spool.read(path, sha256)
    except IntegrityError:
        # The text of the error names a path.
        raise NotFoundError(
            f"the file of this {what} is missing or altered: `cxrd verify` names it"
        ) from None
