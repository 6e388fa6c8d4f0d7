"""Image library of a report: TID 1600 to 1603 (PS3.16), from the attributes of the headers.

The library is built from content items, because highdicom's template demands attributes that films
often lack (TID 1603).
"""

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import ReportedImage

_PIXELS = Code("{pixels}", "UCUM", "Pixels")
_ACQUISITION = RelationshipTypeValues.HAS_ACQ_CONTEXT
_MODALITIES = {
    "CR": codes.DCM.ComputedRadiography,
    "DX": codes.DCM.DigitalRadiography,
    "RF": codes.DCM.Radiofluoroscopy,
    "RG": codes.DCM.RadiographicImaging,
}
_VIEWS = {"PA": codes.cid4010.PosteroAnterior, "AP": codes.cid4010.AnteroPosterior}


def image_library(images: Sequence[ReportedImage]) -> ContainerContentItem:
    """Return the Image Library container: the analysed images in the order of the report."""
    group = _container(codes.DCM.ImageLibraryGroup, [_entry(image) for image in images])
    return _container(codes.DCM.ImageLibrary, [group])


def _container(name: Code, content: Sequence[ContentItem]) -> ContainerContentItem:
    item = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    item.ContentSequence = ContentSequence(content)
    return item


def source_image_item(image: ReportedImage) -> ImageContentItem:
    """Return a content item that names the image as a source."""
    reference = image.reference()
    return ImageContentItem(
        name=Code("260753009", "SCT", "Source"),
        referenced_sop_class_uid=reference.sop_class_uid,
        referenced_sop_instance_uid=reference.sop_instance_uid,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _entry(image: ReportedImage) -> ImageContentItem:
    item = source_image_item(image)
    item.ContentSequence = ContentSequence(list(_descriptors(image.header)))
    return item


def _descriptors(header: ImageHeader) -> Iterator[ContentItem]:
    modality = _MODALITIES.get(header.modality)
    if modality is not None:
        yield CodeContentItem(
            name=codes.DCM.Modality, value=modality, relationship_type=_ACQUISITION
        )
    # The gate admits only chest films.
    yield CodeContentItem(
        name=codes.DCM.TargetRegion, value=codes.cid4031.Chest, relationship_type=_ACQUISITION
    )
    view = _VIEWS.get(header.view_position)
    if view is not None:
        yield CodeContentItem(name=codes.DCM.ImageView, value=view, relationship_type=_ACQUISITION)
    for name, value in (
        (codes.DCM.PixelDataRows, header.rows),
        (codes.DCM.PixelDataColumns, header.columns),
    ):
        if value is not None and value.is_integer():
            yield _pixel_count(name, int(value))
    if header.directions is not None:
        names = (codes.DCM.PatientOrientationRow, codes.DCM.PatientOrientationColumn)
        for name, direction in zip(names, header.directions, strict=True):
            yield TextContentItem(name=name, value=direction, relationship_type=_ACQUISITION)


def _pixel_count(name: Code, count: int) -> NumContentItem:
    item = NumContentItem(name=name, value=count, unit=_PIXELS, relationship_type=_ACQUISITION)
    # highdicom writes a whole number as 1024.0.
    item.MeasuredValueSequence[0].NumericValue = str(count)
    return item
