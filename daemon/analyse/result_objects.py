"""A film's findings → pictures, presentation state and segmentation that show them."""

import datetime
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from cxr_model.predict.prediction import Finding, Prediction
from cxr_model.predict.region import Region, hot_mask, hot_region
from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.compression import jpeg_copy
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.presentation_state import (
    OutlinedFinding,
    PresentationContent,
    build_presentation_state,
)
from dicom_io.objects.secondary_capture import (
    CaptureContent,
    SummaryContent,
    build_capture,
    build_summary,
)
from dicom_io.objects.segmentation import SegmentationContent, SegmentedFinding, build_segmentation
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import derived_uid, heatmap_uid, series_uid
from dicom_io.read.header import Dataset, number, text
from storage.records import ObjectKind

SERIES_NUMBERS = {
    ObjectKind.REPORT: 9900,
    ObjectKind.HEATMAP: 9901,
    ObjectKind.SUMMARY: 9902,
    ObjectKind.PRESENTATION_STATE: 9903,
    ObjectKind.SEGMENTATION: 9904,
    ObjectKind.HEATMAP_JPEG: 9905,
    ObjectKind.SUMMARY_JPEG: 9906,
}


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A DICOM object as a whole file."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: ObjectKind
    label: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finding's heatmap as it was drawn: uint8 (rows, cols, 3)."""

    finding: Finding
    rgb: NDArray[np.uint8]


class _Placed(TypedDict):
    """What the content of every object has in common."""

    source: Dataset
    algorithm: Algorithm
    identity: Identity


class ObjectBuilder:
    """Builds the objects of one film; all UIDs follow from the film, the model and the kind.

    `source` needs no pixels; `shown` are the stored values that take part in its contrast.
    `content_datetime` is aware and its zone the site's. Other pixels under the same UID, a higher
    `revision`, are another source: their objects are other objects.
    """

    def __init__(
        self,
        source: Dataset,
        shown: NDArray[np.int64] | None,
        prediction: Prediction,
        algorithm: Algorithm,
        revision: int,
        content_datetime: datetime.datetime,
    ) -> None:
        uid = str(source.SOPInstanceUID)
        self._source = source
        self._shown = shown
        self._prediction = prediction
        self._algorithm = algorithm
        self._key = uid if revision == 1 else f"{uid}#{revision}"
        self._now = content_datetime
        self.regions: Mapping[str, Region] = {
            finding.label: region
            for finding in prediction.present
            if (region := hot_region(self._map(finding))) is not None
        }
        """Where, by label, the maps of the findings present are hottest."""

    def heatmap(self, drawing: Drawing, kinds: Collection[ObjectKind]) -> Iterator[BuiltObject]:
        """The heatmap of one finding, and its lossy copy where that is among `kinds`."""
        finding = drawing.finding
        uid = heatmap_uid(self._key, self._algorithm.sha256, finding.label)
        dataset = build_capture(
            CaptureContent(
                rgb=drawing.rgb,
                label=finding.label,
                probability=finding.probability,
                threshold=finding.threshold,
                **self._placed(ObjectKind.HEATMAP, uid, LABELS.index(finding.label) + 1),
            )
        )
        yield _built(dataset, ObjectKind.HEATMAP, finding.label)
        if ObjectKind.HEATMAP_JPEG in kinds:
            yield self._jpeg(dataset, ObjectKind.HEATMAP_JPEG, finding.label)

    def summary(
        self, rgb: NDArray[np.uint8], kinds: Collection[ObjectKind]
    ) -> Iterator[BuiltObject]:
        """The summary sheet, and its lossy copy where that is among `kinds`."""
        dataset = build_summary(
            SummaryContent(
                rgb=rgb,
                positive=[finding.label for finding in self._prediction.present],
                **self._placed(ObjectKind.SUMMARY),
            )
        )
        yield _built(dataset, ObjectKind.SUMMARY, None)
        if ObjectKind.SUMMARY_JPEG in kinds:
            yield self._jpeg(dataset, ObjectKind.SUMMARY_JPEG, None)

    def presentation_state(self) -> Iterator[BuiltObject]:
        """The outlines of all findings present; none where no map rises."""
        outlined = [
            OutlinedFinding(finding.label, finding.probability, self.regions[finding.label].points)
            for finding in self._prediction.present
            if finding.label in self.regions
        ]
        if outlined:
            kind = ObjectKind.PRESENTATION_STATE
            dataset = build_presentation_state(
                PresentationContent(findings=outlined, shown=self._shown, **self._placed(kind))
            )
            yield _built(dataset, kind, None)

    def segmentation(self) -> Iterator[BuiltObject]:
        """The regions of all findings present; none where no map rises."""
        segmented = [
            SegmentedFinding(finding.label, finding.probability, mask)
            for finding in self._prediction.present
            if (mask := hot_mask(self._map(finding))) is not None
        ]
        if segmented:
            kind = ObjectKind.SEGMENTATION
            dataset = build_segmentation(
                SegmentationContent(findings=segmented, **self._placed(kind))
            )
            yield _built(dataset, kind, None)

    def _placed(
        self, kind: ObjectKind, uid: str | None = None, number: int | None = None
    ) -> _Placed:
        """Where an object stands; by default the only one of its kind on this film."""
        return _Placed(
            source=self._source,
            algorithm=self._algorithm,
            identity=Identity(
                sop_instance_uid=uid or self._uid(kind),
                series_instance_uid=self._series_uid(kind),
                series_number=SERIES_NUMBERS[kind],
                instance_number=number or _film_number(self._source),
                content_datetime=self._now,
                timezone=self._now.tzinfo,
            ),
        )

    def _jpeg(self, picture: Dataset, kind: ObjectKind, label: str | None) -> BuiltObject:
        uid = derived_uid(str(picture.SOPInstanceUID), self._algorithm.sha256, "jpeg")
        data = jpeg_copy(
            picture,
            sop_instance_uid=uid,
            series_instance_uid=self._series_uid(kind),
            series_number=SERIES_NUMBERS[kind],
        )
        return BuiltObject(uid, str(picture.SOPClassUID), kind, label, data)

    def _map(self, finding: Finding) -> NDArray[np.float32]:
        grid = self._prediction.maps[LABELS.index(finding.label)]
        return self._prediction.geometry.to_original(grid)

    def _uid(self, kind: ObjectKind) -> str:
        return derived_uid(self._key, self._algorithm.sha256, kind.value)

    def _series_uid(self, kind: ObjectKind) -> str:
        study = str(self._source.StudyInstanceUID)
        return series_uid(study, self._algorithm.sha256, kind.value)


def film_name(source: Dataset) -> str:
    """How a film is told from others of its study, without naming the patient."""
    named = (("series", "SeriesNumber"), ("image", "InstanceNumber"))
    parts = [
        f"{word} {int(value)}"
        for word, keyword in named
        if (value := number(source, keyword)) is not None
    ]
    view = text(source, "ViewPosition").upper()
    return ", ".join([*parts, *([view] if view in {"PA", "AP"} else [])])


def _film_number(source: Dataset) -> int:
    """The film's InstanceNumber, so that objects made of several films sort as these do."""
    value = number(source, "InstanceNumber")
    return int(value) if value is not None and 1 <= value < 2**31 else 1


def _built(dataset: Dataset, kind: ObjectKind, label: str | None) -> BuiltObject:
    return BuiltObject(
        str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), kind, label, to_bytes(dataset)
    )
