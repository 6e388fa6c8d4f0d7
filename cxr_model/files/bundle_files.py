"""The two files of a bundle and what binds them, read without the numeric libraries."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxr_model.errors import BundleError
from cxr_model.files.card_values import check_card
from cxr_model.files.regular_file import MB, read_inside
from cxr_model.files.strict_json import parse_json, shown

FORMAT = "cxrd-bundle/1"
CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"

LARGEST_CARD = 4 * MB
#: DenseNet-121 has 28 MB in float32.
LARGEST_WEIGHTS = 64 * MB

#: The model that comes with the package.
STARTER = Path(__file__).resolve().parents[1] / "starter"


def verify_files(path: Path) -> None:
    """Check that folder `path` has a card of this software and the weights that the card names.

    `Bundle.load` checks the weights' tensors, too. Raises BundleError in one line.
    """
    data = read_card(path)
    with named(path):
        weights = parse_card(data)["weights"]
        read_weights_file(path, weights["file"], weights["sha256"])


def read_card(path: Path) -> bytes:
    """Return the bytes of the card in folder `path`. Raises BundleError in one line."""
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}: name a folder with {CARD_FILE}")
    return read_inside(path, CARD_FILE, LARGEST_CARD, BundleError)


def parse_card(data: bytes) -> dict[str, Any]:
    """Return the JSON object of a card that names its weights. Raises BundleError in one line."""
    try:
        content = parse_json(data)
    except ValueError as error:
        raise BundleError(
            f"the card is not JSON of this software: {error}; copy the bundle again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise BundleError(f"this software reads bundles of format {FORMAT!r}, not {shown(found)}")
    with malformed():
        check_card(content)
        if content["weights"] is None:
            raise BundleError("the card does not name its weights file")
    return content


def read_weights_file(path: Path, name: str, sha256: str) -> bytes:
    """Return the bytes of the weights in folder `path`. Raises BundleError if they are others."""
    data = read_inside(path, name, LARGEST_WEIGHTS, BundleError)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BundleError(
            f"{name} is not the file this card was written for: sha256 is {found[:12]}…, "
            f"the card says {sha256[:12]}…; fetch or train the bundle again"
        )
    return data


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the bundle's folder before the text of a BundleError."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


@contextlib.contextmanager
def malformed() -> Iterator[None]:
    """Raise BundleError for a card whose values have other types than this software writes."""
    try:
        yield
    except KeyError as error:
        raise BundleError(f"the card has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"the card is malformed: {error}") from error
