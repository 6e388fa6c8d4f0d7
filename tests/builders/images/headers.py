"""Headers of films without pixels, whose values may break the rules of their VR."""

from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.uid import ComputedRadiographyImageStorage

from dicom_io.read.image_header import ImageHeader

_FILM: dict[str, Any] = {
    "SOPClassUID": ComputedRadiographyImageStorage,
    "Modality": "CR",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "PixelSpacing": ["0.143", "0.143"],
    "Rows": 2000,
    "Columns": 2000,
    "PixelData": b"\0\0",
}


def film_header(**attributes: Any) -> ImageHeader:
    """Return the header of a frontal chest film; an attribute given as None is left out."""
    ds = Dataset()
    for keyword, value in (_FILM | attributes).items():
        if value is not None:
            # pydicom warns of a Code String with other characters than PS3.5 6.2 allows.
            vr = dictionary_VR(keyword)
            ds.add_new(keyword, {"CS": "LO", "OB or OW": "OB"}.get(vr, vr), value)
    return ImageHeader.of(ds)
