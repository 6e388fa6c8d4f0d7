"""Maps compared with radiologists' boxes."""

from pathlib import Path

import numpy as np
import pytest

from cxr_model.errors import DataError
from cxr_model.evaluate.boxes import Box, localise, read_boxes


def spot(row: int, col: int) -> np.ndarray:
    """Return a map of 64 x 64 with a hot square of 8 pixels a side."""
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[row : row + 8, col : col + 8] = 1.0
    return heat


def test_a_map_in_its_box_scores_and_one_beside_it_does_not() -> None:
    boxes = [
        Box("a", "Mass", 160, 320, 128, 128),
        Box("b", "Mass", 160, 320, 128, 128),
        Box("c", "Nodule", 0, 0, 64, 64),
    ]
    maps = {"a": spot(20, 10), "b": spot(50, 50), "c": None}
    found = localise(boxes, lambda image, _: maps[image])
    assert set(found) == {"Mass", "all"}
    assert found["Mass"].boxes == 2
    assert found["Mass"].pointing == 0.5
    assert found["Mass"].iou == 0.5
    assert found["Mass"].chance == pytest.approx(1 / 64)


def test_two_boxes_on_one_film_count_once_and_either_is_right() -> None:
    boxes = [Box("a", "Mass", 160, 320, 128, 128), Box("a", "Mass", 800, 800, 128, 128)]
    found = localise(boxes, lambda *_: spot(50, 50))
    assert found["Mass"].boxes == 1
    assert found["Mass"].pointing == 1.0


def test_a_map_without_heat_points_nowhere() -> None:
    box = Box("a", "Mass", 0, 0, 1024, 1024)
    found = localise([box], lambda *_: np.full((8, 8), -1.0, dtype=np.float32))
    assert found["Mass"].pointing == 0.0
    assert found["Mass"].iou == 0.0


def test_without_maps_there_is_no_result() -> None:
    assert localise([Box("a", "Mass", 0, 0, 5, 5)], lambda *_: None) == {}


def test_the_published_table_is_read(data_folder: Path) -> None:
    boxes = read_boxes(data_folder / "nih" / "boxes.csv")
    assert len(boxes) > 60
    assert boxes[0].label == "Atelectasis"
    assert all(0 <= box.x < 1024 and box.y + box.height <= 1024.5 for box in boxes)


def test_the_short_name_of_infiltration_is_known(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text('Image,Finding,"Bbox [x,y,w,h]"\na.png,Infiltrate,1,2,3,4,,,\n')
    assert read_boxes(tmp_path / "b.csv") == (Box("a.png", "Infiltration", 1, 2, 3, 4),)


@pytest.mark.parametrize("row", ["a.png,Mass,1,2,3", "a.png,Mass,1,2,x,4", "a.png,Cough,1,2,3,4"])
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "b.csv").write_text(f"header\n{row}\n")
    with pytest.raises(DataError, match="line 2"):
        read_boxes(tmp_path / "b.csv")
