"""UIDs derived from their inputs, so that a repeated step makes the same object.

All are UUID-derived UIDs under the root 2.25 (PS3.5 B.2), which needs no registration.
"""

import hashlib
from collections.abc import Iterable

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


def report_uid(study_instance_uid: str, image_keys: Iterable[str], model_sha256: str) -> str:
    """Return the UID of the report on exactly these images of a study; order does not matter.

    A key names one state of one image: its UID and, after a re-send, its revision or content hash.
    A report on more images, or on changed images, is therefore another object.
    """
    keys = "\n".join(sorted(set(image_keys)))
    return derived_uid(f"{study_instance_uid}\n{keys}", model_sha256, "report")


def series_uid(study_instance_uid: str, model_sha256: str, kind: str) -> str:
    """Return the UID of the series for all objects of this kind by one model in a study."""
    return derived_uid(study_instance_uid, model_sha256, f"series:{kind}")


def heatmap_uid(sop_instance_uid: str, model_sha256: str, label: str) -> str:
    """Return the UID of the heatmap of one finding on one image."""
    return derived_uid(sop_instance_uid, model_sha256, f"heatmap:{label}")


def tracking_uid(sop_instance_uid: str, model_sha256: str, label: str) -> str:
    """Return the Tracking Unique Identifier (TID 4108) of one finding on one image."""
    return derived_uid(sop_instance_uid, model_sha256, f"tracking:{label}")


def device_uid(model_sha256: str) -> str:
    """Return the Device UID (0018,1002) of this software with this model."""
    return derived_uid("cxrd", model_sha256, "device")
