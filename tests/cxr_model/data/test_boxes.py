"""Tables of radiologists' boxes."""

from pathlib import Path

import pytest

from cxr_model.data.boxes import Box, read_boxes
from cxr_model.errors import DataError


def test_a_box_in_shares_of_the_film_overlaps_with_itself_and_its_half() -> None:
    box = Box("a", "Mass", 256, 512, 256, 256).frame
    assert box == (0.25, 0.5, 0.5, 0.75)
    assert box.area == 1 / 16
    assert box.overlaps(box) == (1.0, 1.0)
    half = Box("a", "Mass", 256, 512, 128, 256).frame
    assert half.overlaps(box) == (0.5, 1.0)
    assert box.overlaps(half) == (0.5, 0.5)
    assert box.overlaps(Box("a", "Mass", 0, 0, 256, 512).frame) == (0.0, 0.0)
    assert box.contains(0.3, 0.6)
    assert not box.contains(0.3, 0.4)


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
