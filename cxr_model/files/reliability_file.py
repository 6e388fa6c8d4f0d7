"""The file of a bundle with the points of its reliability diagrams; a bundle may lack it.

It names the card that it was measured with by the SHA-256 of the card's bytes, which is that of the
bundle. It is not part of the bundle's identity.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_model.errors import BundleError
from cxr_model.files.bundle_files import named
from cxr_model.files.regular_file import MB, read_inside
from cxr_model.files.strict_json import parse_json
from cxr_model.findings import LABELS

RELIABILITY_FILE = "reliability.json"
FORMAT = "cxrd-reliability/1"
MOST_BINS = 100
_LARGEST = 1 * MB
_CELLS = 5


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Films of similar probability.

    `mean` is their mean probability, `rate` the share of them with the finding, and `low` to `high`
    the 95 % interval of that share.
    """

    mean: float
    rate: float
    low: float
    high: float
    films: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """The bins of each label on some films; `part` names the films, as on a card.

    The probabilities are those before the shift of the curves to another prevalence.
    """

    part: str
    films: int
    patients: int
    labels: Mapping[str, tuple[ReliabilityBin, ...]]


def read_reliability(folder: Path, card_sha256: str) -> Reliability | None:
    """Return what the bundle in a folder has; None without the file.

    Raises BundleError, in one line, if the file is malformed or of another card.
    """
    if not (folder / RELIABILITY_FILE).exists():
        return None
    data = read_inside(folder, RELIABILITY_FILE, _LARGEST, BundleError)
    with named(folder / RELIABILITY_FILE):
        try:
            content = parse_json(data)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise BundleError(f"not a file of format {FORMAT!r}")
            if content["card_sha256"] != card_sha256:
                raise BundleError("was measured with another card: measure the bundle again")
            return _reliability(content)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"malformed: {error}") from error


def write_reliability(folder: Path, card_sha256: str, measured: Reliability) -> None:
    """Write the file of the bundle in a folder."""
    head = {
        "format": FORMAT,
        "card_sha256": card_sha256,
        "part": measured.part,
        "films": measured.films,
        "patients": measured.patients,
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items()]
    labels = [
        f"  {json.dumps(label)}: "
        + json.dumps([[b.mean, b.rate, b.low, b.high, b.films] for b in bins], allow_nan=False)
        for label, bins in measured.labels.items()
    ]
    text = "".join(["{\n", *lines, ' "labels": {\n', ",\n".join(labels), "\n }\n}\n"])
    (folder / RELIABILITY_FILE).write_text(text, encoding="utf-8")


def _reliability(content: Mapping[str, Any]) -> Reliability:
    unknown = sorted(set(content["labels"]) - set(LABELS))
    if unknown:
        raise BundleError(f"names a finding that is not of NIH ChestX-ray14: {unknown[0]!r}")
    return Reliability(
        part=str(content["part"]),
        films=int(content["films"]),
        patients=int(content["patients"]),
        labels={
            label: tuple(_bin(cells) for cells in rows[:MOST_BINS])
            for label, rows in content["labels"].items()
        },
    )


def _bin(cells: Any) -> ReliabilityBin:
    if not isinstance(cells, list) or len(cells) != _CELLS:
        raise BundleError("a bin is not a list of mean, rate, low, high and films")
    *shares, films = cells
    if any(
        isinstance(v, bool) or not isinstance(v, int | float) or not 0 <= v <= 1 for v in shares
    ):
        raise BundleError("a share of a bin does not lie between 0 and 1")
    if isinstance(films, bool) or not isinstance(films, int) or films < 1:
        raise BundleError("a bin has no whole number of films")
    mean, rate, low, high = map(float, shares)
    return ReliabilityBin(mean, rate, low, high, films)
