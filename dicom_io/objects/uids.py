"""UIDs derived from their inputs, so that a repeated step makes the same object.

All are UUID-derived UIDs under the root 2.25 (PS3.5 B.2), which needs no registration.
"""

import hashlib
from collections.abc import Iterable

RENDERING_VERSION = 4
"""The version of the way objects are made. Raise it when the same inputs make another content: no
UID names two contents."""

_UUID_ROOT = "2.25."
_VERSION_MASK = 0xF << 76
_VARIANT_MASK = 0x3 << 62


def derived_uid(source_uid: str, model_sha256: str, kind: str) -> str:
    """Return the UID of the object of one kind that one model makes from one source.

    The hash covers the length of each part, so that different triples never hash the same bytes.
    The first 128 bits of the SHA-256 become a version 8 UUID (RFC 9562, 5.8). The UID has at most
    44 characters.
    """
    digest = hashlib.sha256()
    for part in (source_uid, model_sha256, kind):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~_VERSION_MASK | 0x8 << 76
    number = number & ~_VARIANT_MASK | 0x2 << 62
    return f"{_UUID_ROOT}{number}"


def film_key(source: str, sop_instance_uid: str, sha256: str) -> str:
    """Return the name of one revision of a film: two sources, or two revisions, may share its UID.

    `sha256` is the digest of the received file.
    """
    return "\n".join((source, sop_instance_uid, sha256))


def study_key(source: str, study_instance_uid: str) -> str:
    """Return the name of a study: two sources may use its UID for different studies."""
    return "\n".join((source, study_instance_uid))


def report_uid(study: str, image_keys: Iterable[str], model_sha256: str, form: str = "") -> str:
    """Return the UID of the report on exactly these images of a study; order does not matter.

    `study` is a `study_key`. An image key names one state of one image: its UID, its content hash
    and its result. A report on more images, or on changed images, is therefore another object. So
    is one that names pictures of another form.
    """
    keys = "\n".join(sorted(set(image_keys)))
    return object_uid(f"{study}\n{keys}", model_sha256, "report", form)


def series_uid(study: str, model_sha256: str, kind: str, form: str = "") -> str:
    """Return the UID of the series for all objects of this kind and form by one model in a study.

    `study` is a `study_key`.
    """
    return object_uid(study, model_sha256, f"series:{kind}", form)


def heatmap_uid(film: str, model_sha256: str, label: str, form: str = "") -> str:
    """Return the UID of the heatmap of one finding on one film; `film` is a `film_key`."""
    return object_uid(film, model_sha256, f"heatmap:{label}", form)


def tracking_uid(film: str, model_sha256: str, label: str) -> str:
    """Return the Tracking Unique Identifier (TID 4108) of one finding on one film.

    `film` is a `film_key`.
    """
    return object_uid(film, model_sha256, f"tracking:{label}")


def object_uid(made_from: str, model_sha256: str, kind: str, form: str = "") -> str:
    """Return the UID of the object of one kind that this version makes of a film or a study.

    `made_from` is a `film_key` or a `study_key`. `form` names the size and the loss of the pictures
    that the object is, or refers to; it is empty for the default.
    """
    return derived_uid(made_from, model_sha256, f"{kind}:{form}:{RENDERING_VERSION}")


def device_uid(model_sha256: str) -> str:
    """Return the Device UID (0018,1002) of this software with this model."""
    return derived_uid("cxrd", model_sha256, "device")
