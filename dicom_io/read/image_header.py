"""The header of an image as a frozen value; each attribute is read from the dataset once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from pydicom import Dataset
from pydicom.uid import UID

from dicom_io.read.bounded_parser import raw_length
from dicom_io.read.grey_scale import GreyScale, grey_scale_of
from dicom_io.read.header import (
    LONGEST_VALUE,
    number,
    numbers,
    read_dataset,
    read_dataset_and_damage,
    text,
)
from dicom_io.read.orientation import SPACINGS, Pose, directions_of, pose_of
from dicom_io.read.values.layout import Layout, layout_of
from dicom_io.read.warnings_off import suppressed_warnings

_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_REPEATED_FIRST, _REPEATED_LAST = 0x5000, 0x60FF


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """The attributes that gate, decoder, object builders and report share.

    A text is stripped; it is empty if the attribute is absent or malformed. A number is then None,
    and a list of numbers empty. `orientation` is PatientOrientation as it is written. `spacings`
    holds the values of the four attributes that give the size or aspect ratio of a pixel.

    `damage` holds notes on damage of the object that leaves its pixels whole.

    `size` is the number of bytes that were parsed; 0 if the pixels were parsed, too.

    `series_order` and `instance_order` are Series and Instance Number as numbers.

    `dataset` is the parsed object. Attributes that builders copy as raw bytes are not fields,
    because reading an attribute decodes it in the dataset.
    """

    dataset: Dataset
    uids: Mapping[str, str]
    transfer_syntax: UID
    character_set: str
    timezone_offset: str
    modality: str
    view_position: str
    series_number: str
    instance_number: str
    series_order: float | None
    instance_order: float | None
    rows: float | None
    columns: float | None
    orientation: str
    spacings: Mapping[str, tuple[float, ...]]
    lossy_compression: str
    damage: tuple[str, ...] = ()
    size: int = 0

    @classmethod
    @suppressed_warnings()
    def of(cls, ds: Dataset, damage: tuple[str, ...] = (), size: int = 0) -> Self:
        """Read the header of a dataset; `damage` holds notes on it. Never raises."""
        return cls(
            dataset=ds,
            uids={keyword: text(ds, keyword) for keyword in _UIDS},
            transfer_syntax=UID(text(getattr(ds, "file_meta", Dataset()), "TransferSyntaxUID")),
            character_set=text(ds, "SpecificCharacterSet"),
            timezone_offset=text(ds, "TimezoneOffsetFromUTC"),
            modality=text(ds, "Modality"),
            view_position=text(ds, "ViewPosition"),
            series_number=text(ds, "SeriesNumber"),
            instance_number=text(ds, "InstanceNumber"),
            series_order=number(ds, "SeriesNumber"),
            instance_order=number(ds, "InstanceNumber"),
            rows=number(ds, "Rows"),
            columns=number(ds, "Columns"),
            orientation=text(ds, "PatientOrientation"),
            spacings={keyword: numbers(ds, keyword) for keyword in SPACINGS},
            lossy_compression=text(ds, "LossyImageCompression"),
            damage=damage,
            size=size,
        )

    @cached_property
    def directions(self) -> tuple[str, str] | None:
        """The directions of rows and columns (PS3.3 C.7.6.1.1.1); None unless both are legal."""
        return directions_of(self.orientation)

    @cached_property
    def pose(self) -> tuple[Pose, tuple[str, ...]]:
        """The steps from the stored to the upright image, and notes."""
        return pose_of(self.orientation, self.spacings)

    @cached_property
    def layout(self) -> Layout:
        """The layout of the pixels. Raises UndecodablePixelsError unless it makes one image."""
        return layout_of(self.dataset, self.rows, self.columns)

    @cached_property
    def grey_scale(self) -> GreyScale:
        """The steps from stored values to grey levels. Raises as `layout` does."""
        return self.grey_scale_of(self.layout)

    def grey_scale_of(self, layout: Layout) -> GreyScale:
        """Return the grey scale for pixels of another layout than the header declares."""
        return grey_scale_of(self.dataset, self.transfer_syntax, layout)


def read_image(source: bytes | Path) -> ImageHeader:
    """Parse an image with its pixels. Raises NotDicomError as `read_dataset` does."""
    return ImageHeader.of(*read_dataset_and_damage(source))


def read_image_header(source: bytes | Path) -> ImageHeader:
    """Parse the header that new objects are made from.

    Pixels, overlays, curves, private elements and values of more than a mebibyte are left out: no
    object made here refers to them. Raises NotDicomError as `read_dataset` does.
    """
    ds = read_dataset(source, with_pixels=False)
    for tag in list(ds.keys()):
        repeated = _REPEATED_FIRST <= tag.group <= _REPEATED_LAST
        if tag.is_private or repeated or raw_length(ds, tag) > LONGEST_VALUE:
            del ds[tag]
    # The dataset would keep the whole file in memory, from whose bytes it was parsed.
    stream, ds.buffer = ds.buffer, None
    return ImageHeader.of(ds, size=stream.tell())
