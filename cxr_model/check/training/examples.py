"""Pictures that train and measure a picture check: folders, or tables with kinds and licences."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cxr_model.check.appearance import View
from cxr_model.errors import DataError
from cxr_model.files.table_file import read_table

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".jp2"})
_NUMBER_AT_THE_END = re.compile(r"-\d+$")
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
_UNKNOWN = "not stated"


class Part(StrEnum):
    """Use of a picture. `UNUSED` ones are of a held-out group, but may not be measured."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held-out"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Example:
    """A picture: its set and source, its kind, and its group (a patient) that is never divided."""

    path: Path
    view: View
    kind: str
    group: str
    source: str
    licence: str
    part: Part


@dataclass(frozen=True, slots=True)
class Division:
    """Shares of groups that are held out and that choose thresholds, by a hash of group and seed.

    Pictures of a source in `training_only` never choose and never measure. A picture under a
    non-commercial licence is measured and never trains.
    """

    held_out: float = 0.25
    validation: float = 0.15
    seed: int = 0
    training_only: frozenset[str] = frozenset()

    def part(self, group: str, source: str, licence: str) -> Part:
        """Return the part of a picture; all pictures of a group share it, but for these rules."""
        if _NON_COMMERCIAL.search(licence):
            return Part.HELD_OUT
        digest = hashlib.sha256(f"{self.seed}:{group}".encode()).digest()
        place = int.from_bytes(digest[:8]) / 2**64
        chosen = Part.TRAIN
        if place < self.held_out:
            chosen = Part.HELD_OUT
        elif place < self.held_out + self.validation:
            chosen = Part.VALIDATION
        if source in self.training_only and chosen is not Part.TRAIN:
            return Part.UNUSED
        return chosen


def read_examples(
    paths: Iterable[Path], view: View, licences: Mapping[str, str], division: Division
) -> list[Example]:
    """Read folders and tables of pictures of `view`.

    A table has the column `file`, relative to the table, and may have `kind`, `group` or
    `patient_id`, `licence` and `source`. The kinds ``frontal`` and ``lateral`` are views, any other
    kind is something else; without `kind` a picture is of `view`. A folder is searched with its
    subfolders; the name of a file up to the first underscore, without a last number after a
    hyphen, is its group. `licences` has the licence of a folder, or of a table without that
    column, by the name of the folder it lies in. Raises DataError for a path with no picture.
    """
    found = []
    for path in paths:
        is_table = path.is_file()
        name = path.resolve().parent.name if is_table else path.resolve().name
        licence = licences.get(name, _UNKNOWN)
        reader = _from_table if is_table else _from_folder
        some = list(reader(path, name, view, licence, division))
        if not some:
            raise DataError(f"{path} names no picture: give a folder of pictures or a table")
        found += some
    return found


def _from_folder(
    folder: Path, name: str, view: View, licence: str, division: Division
) -> Iterator[Example]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            group = f"{name}/{_NUMBER_AT_THE_END.sub('', path.stem.split('_')[0])}"
            part = division.part(group, name, licence)
            yield Example(path, view, view.value, group, name, licence, part)


def _from_table(
    table_path: Path, name: str, view: View, licence: str, division: Division
) -> Iterator[Example]:
    table = read_table(table_path, DataError, dtype=str, keep_default_na=False)
    if "file" not in table.columns:
        raise DataError(f"{table_path} has no column file")
    groups = next((c for c in ("group", "patient_id") if c in table.columns), "file")
    for row in table.to_dict("records"):
        path = table_path.parent / row["file"]
        if not path.is_file():
            raise DataError(f"{table_path} names {row['file']}, which is not beside it")
        kind = row.get("kind", view.value)
        seen = View(kind) if kind in (View.FRONTAL, View.LATERAL) else View.OTHER
        seen = seen if "kind" in row else view
        source = row.get("source", "") or name
        terms = row.get("licence", "") or licence
        group = f"{name}/{row[groups]}"
        yield Example(path, seen, kind, group, source, terms, division.part(group, source, terms))


def counts(examples: Iterable[Example]) -> list[dict[str, object]]:
    """Return, for the card, the pictures per kind, source, licence and part."""
    found = Counter((e.kind, e.source, e.licence, e.part.value) for e in examples)
    return [
        {"kind": kind, "source": source, "licence": licence, "part": part, "pictures": pictures}
        for (kind, source, licence, part), pictures in sorted(found.items())
    ]
