"""Examples come from folders and tables; a group is never divided, NC never trains."""

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_model.check.appearance import View
from cxr_model.check.training.examples import Division, Example, Part, read_examples
from cxr_model.errors import DataError


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8), dtype=np.uint8))


def table(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    for row in rows:
        write_picture(folder / row.split(",")[0])
    return path


def read(path: Path, **division: object) -> list[Example]:
    return read_examples([path], View.OTHER, {}, Division(**division))  # type: ignore[arg-type]


def test_a_table_names_kind_group_source_and_licence(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "file,kind,group,licence,source",
        "a.png,lateral,p1,CC BY 4.0,here",
        "b.png,knee,p2,CC0,there",
        "c.png,frontal,p3,CC0,there",
    )
    found = read(path)
    assert [e.view for e in found] == [View.LATERAL, View.OTHER, View.FRONTAL]
    assert [e.kind for e in found] == ["lateral", "knee", "frontal"]
    assert found[0].licence == "CC BY 4.0"
    assert found[1].source == "there"


@pytest.mark.parametrize(
    "licence", ["CC BY-NC-SA", "CC BY-NC-SA 4.0", "CC BY-NC", "non-commercial use", "NonCommercial"]
)
def test_a_non_commercial_picture_is_measured_only(tmp_path: Path, licence: str) -> None:
    rows = (f"{n}.png,knee,g{n},{licence}" for n in range(40))
    path = table(tmp_path, "file,kind,group,licence", *rows)
    assert {e.part for e in read(path)} == {Part.HELD_OUT}


def test_a_licence_of_a_folder_is_given_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "bones" / "1.png")
    found = read_examples([tmp_path / "bones"], View.OTHER, {"bones": "CC BY-NC"}, Division())
    assert (found[0].licence, found[0].part) == ("CC BY-NC", Part.HELD_OUT)


def test_a_group_is_in_one_part_and_every_part_has_groups(tmp_path: Path) -> None:
    for patient in range(100):
        for film in range(2):
            write_picture(tmp_path / "films" / f"person{patient}_bacteria_{film}.png")
    parts = defaultdict(set)
    for example in read(tmp_path / "films"):
        parts[example.group].add(example.part)
    assert len(parts) == 100
    assert all(len(found) == 1 for found in parts.values())
    assert {part for found in parts.values() for part in found} == set(Part) - {Part.UNUSED}


def test_a_training_only_source_neither_chooses_nor_measures(tmp_path: Path) -> None:
    rows = (f"{n}.png,g{n},copied" for n in range(60))
    path = table(tmp_path, "file,group,source", *rows)
    found = {e.part for e in read(path, training_only=frozenset({"copied"}))}
    assert found == {Part.TRAIN, Part.UNUSED}


def test_another_seed_divides_otherwise(tmp_path: Path) -> None:
    path = table(tmp_path, "file,group", *(f"{n}.png,g{n}" for n in range(60)))
    first, again, other = ([e.part for e in read(path, seed=seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("content", "reason"), [("image\na.png\n", "no column file"), ("file\nlost.png\n", "lost.png")]
)
def test_an_unusable_table_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / "labels.csv")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no picture"):
        read(tmp_path)
