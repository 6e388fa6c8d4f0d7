"""Unique identifiers that follow from their inputs: the same work done twice makes the same object.

All are UUID-derived UIDs under the root 2.25 (PS3.5 B.2), so no registered root is needed.
"""

import hashlib
from collections.abc import Iterable

_UUID_ROOT = "2.25."

_VERSION_MASK = 0xF << 76

_VARIANT_MASK = 0x3 << 62


def derived_uid(source_uid: str, model_sha256: str, kind: str) -> str:
    """UID of the object of one kind made from one source by one model.

    The parts are hashed with their lengths, so no two different triples share a text. The first
    128 bits of the SHA-256 become a version 8 UUID (RFC 9562, 5.8); at most 44 characters.
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


def report_uid(study_instance_uid: str, image_keys: Iterable[str], model_sha256: str) -> str:
    """UID of the report on exactly these images of a study, in whatever order they are named.

    A key names one state of one image (its UID and, where it was sent again, its revision or
    content hash): a report on more images, or on changed ones, is another object.
    """
    keys = "\n".join(sorted(set(image_keys)))
    return derived_uid(f"{study_instance_uid}\n{keys}", model_sha256, "report")


def series_uid(study_instance_uid: str, model_sha256: str, kind: str) -> str:
    """UID of the one series that holds a model's objects of this kind in a study."""
    return derived_uid(study_instance_uid, model_sha256, f"series:{kind}")


def heatmap_uid(sop_instance_uid: str, model_sha256: str, label: str) -> str:
    """UID of the heatmap of one finding on one image."""
    return derived_uid(sop_instance_uid, model_sha256, f"heatmap:{label}")


def tracking_uid(sop_instance_uid: str, model_sha256: str, label: str) -> str:
    """Tracking Unique Identifier (TID 4108) of one finding on one image."""
    return derived_uid(sop_instance_uid, model_sha256, f"tracking:{label}")


def device_uid(model_sha256: str) -> str:
    """Device UID (0018,1002) of the observer that is this software with this model."""
    return derived_uid("cxrd", model_sha256, "device")
