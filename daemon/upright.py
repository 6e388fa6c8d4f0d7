"""The network and people read films upright; objects lie on the stored pixels: there and back."""

from dataclasses import replace

from cxr_model.findings import Prediction
from cxr_model.transform import Geometry
from dicom_io.orientation import Pose


def on_stored_grid(prediction: Prediction, pose: Pose, rows: int, columns: int) -> Prediction:
    """The prediction of an upright film, with maps and geometry of its stored (rows, columns)."""
    box = prediction.geometry
    top, left, height, width = box.top, box.left, box.height, box.width
    if pose.columns_reversed:
        left = box.size - left - width
    if pose.rows_reversed:
        top = box.size - top - height
    if pose.transposed:
        top, left, height, width = left, top, width, height
    return replace(
        prediction,
        maps=pose.as_stored(prediction.maps),
        geometry=Geometry(rows, columns, box.size, top, left, height, width),
    )


def on_upright_grid(prediction: Prediction, pose: Pose, rows: int, columns: int) -> Prediction:
    """The other way round: maps and geometry of the film as it is read, (rows, columns)."""
    return replace(
        prediction,
        maps=pose.turned(prediction.maps),
        geometry=Geometry.fit(rows, columns, prediction.geometry.size),
    )
