"""Label tables in both layouts, their splits, and the errors of unusable tables."""

from pathlib import Path

import numpy as np
import pytest

from cxr_model.data.chestxray14 import Part, load_labels, load_soft_targets
from cxr_model.data.split import patient_split, positives
from cxr_model.errors import DataError, PatientOverlapError
from cxr_model.findings import LABELS
from tests.builders.images.films_on_disk import official_dataset, simple_dataset, teacher_table


def test_simple_layout(tmp_path: Path) -> None:
    table = load_labels(tmp_path, simple_dataset(tmp_path, patients=13))
    assert table.missing == 0
    first = table.records[0]
    assert first.patient_id == "0"
    assert (first.age, first.sex, first.view, first.part) == (60.0, "F", "PA", None)
    assert [LABELS[i] for i in np.flatnonzero(first.labels)] == ["Effusion", "Mass"]
    assert positives(table.records)["Effusion"] == 10


def test_official_layout_found_by_its_folder(tmp_path: Path) -> None:
    official_dataset(tmp_path)
    records = load_labels(tmp_path, tmp_path).records
    assert len(records) == 8
    assert {record.path.parent.parent.name for record in records} == {"images_001", "images_002"}
    assert records[0].age == 58.0
    assert [record.part for record in records] == [Part.POOL] * 6 + [Part.HELD_OUT] * 2


def test_official_lists_are_kept(tmp_path: Path) -> None:
    official_dataset(tmp_path, patients=16)
    records = load_labels(tmp_path, tmp_path).records
    split = patient_split(records, validation=0.2, held_out=0.5, seed=0)
    assert {r.patient_id for r in split.held_out} == {"12", "13", "14", "15"}
    assert len(split.validation) == 3


def test_a_film_has_its_source_and_its_original_proportions(tmp_path: Path) -> None:
    table = simple_dataset(tmp_path, patients=2)
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},source", *(f"{row},hospital" for row in rows)]))
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("image,original_width,original_height\n0000_000.png,2048,2500\n")
    first, second, *_ = load_labels(tmp_path, table, sizes).records
    assert (first.source, second.source) == ("hospital", "hospital")
    assert (first.aspect, second.aspect) == (2048 / 2500, None)


def test_official_layout_has_the_original_proportions(tmp_path: Path) -> None:
    table = official_dataset(tmp_path, patients=2)
    table.write_text(table.read_text().replace("1024,1024", "3000,2000"))
    assert [record.aspect for record in load_labels(tmp_path, tmp_path).records] == [1.5, 1.5]


def test_spaces_make_no_other_source_or_patient(tmp_path: Path) -> None:
    table = simple_dataset(tmp_path, patients=3)
    header, *rows = table.read_text().splitlines()
    column = header.split(",").index("patient_id")
    spaced = []
    for number, row in enumerate(rows):
        cells = row.split(",")
        cells[column] = f"7{' ' * number}"
        spaced.append(",".join([*cells, f"hospital{' ' * number}"]))
    table.write_text("\n".join([f"{header},source", *spaced]))
    records = load_labels(tmp_path, table).records
    assert {(record.patient_id, record.source) for record in records} == {("7", "hospital")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,width\na.png,3\n", "has no column original_height"),
        ("image,original_width,original_height\na.png,0,9\n", "0 x 9 is not the size of a film"),
        ("image,original_width,original_height\na.png,9,0\n", "9 x 0 is not the size of a film"),
        ("image,original_width,original_height\na.png,x,9\n", "x x 9 is not the size of a film"),
    ],
)
def test_unusable_original_sizes_are_named(tmp_path: Path, content: str, message: str) -> None:
    table = simple_dataset(tmp_path, patients=1)
    (tmp_path / "sizes.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_labels(tmp_path, table, tmp_path / "sizes.csv")


def test_rows_without_an_image_are_counted(tmp_path: Path) -> None:
    table = simple_dataset(tmp_path, patients=3)
    (tmp_path / "films" / "0001_000.png").unlink()
    loaded = load_labels(tmp_path, table)
    assert (len(loaded.records), loaded.missing) == (5, 1)


def test_no_image_at_all_is_an_error(tmp_path: Path) -> None:
    table = simple_dataset(tmp_path / "a", patients=2)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="none of the 4 images"):
        load_labels(tmp_path / "b", table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,patient_id,labels\na.png,1,Fracture\n", "unknown finding 'Fracture'"),
        ("picture,who\na.png,1\n", "not a label table"),
        ("file,patient_id,labels,split\na.png,1,Mass,tst\n", "unknown split 'tst'"),
    ],
)
def test_unusable_tables_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_labels(tmp_path, tmp_path / "labels.csv")


def test_missing_table_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label table at"):
        load_labels(tmp_path, tmp_path / "labels.csv")
    with pytest.raises(DataError, match="no Data_Entry_2017"):
        load_labels(tmp_path, tmp_path)
    with pytest.raises(DataError, match="no image folder"):
        load_labels(tmp_path / "nowhere", tmp_path)


def test_soft_targets(tmp_path: Path) -> None:
    soft = load_soft_targets(teacher_table(tmp_path / "soft.csv", ["a.png"], 0.25))
    assert list(soft) == ["a.png"]
    np.testing.assert_array_equal(soft["a.png"], np.full(14, 0.25, np.float32))


@pytest.mark.parametrize(("value", "message"), [("1.5", "not probabilities"), ("x", "number")])
def test_soft_targets_that_are_not_probabilities(tmp_path: Path, value: str, message: str) -> None:
    path = teacher_table(tmp_path / "soft.csv", ["a.png"], 0.25)
    path.write_text(path.read_text().replace("0.25", value))
    with pytest.raises(DataError, match=message):
        load_soft_targets(path)


def test_soft_targets_of_one_film_twice_are_refused(tmp_path: Path) -> None:
    path = teacher_table(tmp_path / "soft.csv", ["a.png", "a.png"], 0.25)
    with pytest.raises(DataError, match=r"lists the image .a\.png. twice"):
        load_soft_targets(path)


def test_real_table(real_data: Path) -> None:
    loaded = load_labels(real_data / "nih", real_data / "nih" / "labels.csv")
    assert (len(loaded.records), loaded.missing) == (2471, 0)
    counts = positives(loaded.records)
    assert (counts["Pneumonia"], counts["Hernia"]) == (509, 26)
    split = patient_split(loaded.records, validation=0.15, held_out=0.2, seed=1)
    assert min(positives(split.held_out).values()) > 0
    assert min(positives(split.validation).values()) > 0


def test_a_column_of_parts_that_overlap_is_refused(tmp_path: Path) -> None:
    table = simple_dataset(tmp_path, patients=4)
    lines = table.read_text().splitlines()
    parts = ["split", *["train", "held-out"] * 4]
    rows = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    table.write_text("\n".join(rows))
    records = load_labels(tmp_path, table).records
    with pytest.raises(PatientOverlapError, match=r"4 patients .* such as 0, 1, 2"):
        patient_split(records, validation=0.2, held_out=0.2, seed=0)
