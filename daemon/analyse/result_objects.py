"""Builds the pictures, presentation state and segmentation that show a film's findings."""

import datetime
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from cxr_model.predict.prediction import Finding, Prediction
from cxr_model.predict.region import Region, hot_mask, hot_region
from daemon.config.picture_form import PictureForm
from daemon.config.products import LOSSY_COPIES
from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.classes import HEATMAP_CLASS, PRESENTATION_CLASS, SEGMENTATION_CLASS
from dicom_io.objects.compression import compressed_picture, jpeg_copy
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.presentation_state import (
    OutlinedFinding,
    PresentationContent,
    build_presentation_state,
)
from dicom_io.objects.secondary_capture import (
    CaptureContent,
    Picture,
    SummaryContent,
    build_capture,
    build_summary,
)
from dicom_io.objects.segmentation import SegmentationContent, SegmentedFinding, build_segmentation
from dicom_io.objects.source_header import Envelope, Identity
from dicom_io.objects.uids import (
    derived_uid,
    film_key,
    heatmap_uid,
    object_uid,
    series_uid,
    study_key,
)
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.tone import Tone
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


_SOP_CLASSES = {
    ObjectKind.PRESENTATION_STATE: PRESENTATION_CLASS,
    ObjectKind.SEGMENTATION: SEGMENTATION_CLASS,
}


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A DICOM object as a whole file; `form` is that of `storage.records.ObjectRecord`."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: ObjectKind
    label: str | None
    data: bytes
    form: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finding's heatmap as it was drawn: uint8 (rows, cols, 3).

    The last `legend_rows` rows are the legend; the rows above show the film. `location` is a
    sentence on how far the place that the map shows can be believed.
    """

    finding: Finding
    rgb: NDArray[np.uint8]
    legend_rows: int
    location: str


class ObjectBuilder:
    """Builds the objects of one film; all UIDs follow from the film, the model and the kind.

    `origin` is the source of the film and `sha256` the digest of its file: other bytes under the
    same UID, or the same UID from another source, are another film and make other objects. So is a
    film that its picture put right: `departure` names the change, and is empty for none. The maps
    of the labels in `withheld` are not shown: the objects without them are others, too. So are
    those of a patient whose identity is not that of the file: `identity_key` names it.

    `source` needs no pixels; `shown` are the stored values that take part in its contrast, and
    `tone` the departure from the grey scale of its header. `content_datetime` is aware and in the
    site's time zone.
    """

    def __init__(
        self,
        source: ImageHeader,
        shown: NDArray[np.int64] | None,
        tone: Tone,
        prediction: Prediction,
        algorithm: Algorithm,
        origin: str,
        sha256: str,
        content_datetime: datetime.datetime,
        *,
        departure: str = "",
        withheld: Collection[str] = (),
        identity_key: str = "",
        encode: Callable[[Picture], bytes] = compressed_picture,
    ) -> None:
        """`encode` makes the file of a picture without loss."""
        self._source = source
        self._shown = shown
        self._tone = tone
        self._prediction = prediction
        self._algorithm = algorithm
        self._origin = origin
        self._film = film_key(origin, source.uids["SOPInstanceUID"], sha256)
        hidden = ",".join(one.label for one in prediction.present if one.label in withheld)
        changes = [
            departure,
            f"without {hidden}" if hidden else "",
            f"patient {identity_key}" if identity_key else "",
        ]
        self._made_from = "\n".join([self._film, *filter(None, changes)])
        self._now = content_datetime
        self._encode = encode
        self.regions: Mapping[str, Region] = {
            finding.label: region
            for finding in prediction.present
            if finding.label not in withheld
            if (region := hot_region(self._map(finding))) is not None
        }
        """By label of a finding present and not withheld, the region where its map is hottest."""

    def heatmap(
        self, drawing: Drawing, form: PictureForm, *, with_copy: bool = False
    ) -> Iterator[BuiltObject]:
        """Build the heatmap of one finding in the size of a form, and its lossy copy if asked."""
        finding = drawing.finding
        envelope = self._envelope(
            ObjectKind.HEATMAP,
            heatmap_uid(self._made_from, self._algorithm.sha256, finding.label, form.size),
            LABELS.index(finding.label) + 1,
            form.size,
        )
        content = CaptureContent(
            envelope,
            rgb=drawing.rgb,
            label=finding.label,
            probability=finding.probability,
            threshold=finding.threshold,
            legend_rows=drawing.legend_rows,
            location=drawing.location,
        )
        yield from self._pictures(
            build_capture(content), ObjectKind.HEATMAP, with_copy, finding.label, form.size
        )

    def summary(self, rgb: NDArray[np.uint8], *, with_copy: bool = False) -> Iterator[BuiltObject]:
        """Build the summary sheet, which has one size, and its lossy copy if asked."""
        envelope = self._envelope(ObjectKind.SUMMARY)
        positive = [finding.label for finding in self._prediction.present]
        picture = build_summary(SummaryContent(envelope, rgb, positive))
        yield from self._pictures(picture, ObjectKind.SUMMARY, with_copy)

    def presentation_state(self) -> Iterator[BuiltObject]:
        """Build the outlines of all findings present; yields no object if no map rises."""
        outlined = [
            OutlinedFinding(
                finding.label,
                finding.probability,
                finding.threshold,
                self.regions[finding.label].points,
            )
            for finding in self._prediction.present
            if finding.label in self.regions
        ]
        if outlined:
            envelope = self._envelope(ObjectKind.PRESENTATION_STATE)
            content = PresentationContent(envelope, self._shown, outlined, self._tone)
            data = to_bytes(build_presentation_state(content))
            yield _built(envelope, ObjectKind.PRESENTATION_STATE, data)

    def segmentation(self) -> Iterator[BuiltObject]:
        """Build the regions of all findings present; yields no object if no map rises."""
        segmented = [
            SegmentedFinding(finding.label, finding.probability, finding.threshold, mask)
            for finding in self._prediction.present
            if finding.label in self.regions
            if (mask := hot_mask(self._map(finding))) is not None
        ]
        if segmented:
            envelope = self._envelope(ObjectKind.SEGMENTATION)
            data = to_bytes(build_segmentation(SegmentationContent(envelope, segmented)))
            yield _built(envelope, ObjectKind.SEGMENTATION, data)

    def _envelope(
        self,
        kind: ObjectKind,
        uid: str | None = None,
        number: int | None = None,
        size: str = "",
    ) -> Envelope:
        """Return source, algorithm and identity of an object.

        Without `uid` and `number` the object is the only one of its kind on this film.
        """
        sha256 = self._algorithm.sha256
        return Envelope(
            source=self._source,
            algorithm=self._algorithm,
            identity=Identity(
                sop_instance_uid=uid or object_uid(self._made_from, sha256, kind.value),
                series_instance_uid=self._series_uid(kind, size),
                series_number=SERIES_NUMBERS[kind],
                instance_number=number or _film_number(self._source),
                content_datetime=self._now,
                timezone=self._now.tzinfo,
            ),
            film=self._film,
        )

    def _pictures(
        self,
        picture: Picture,
        kind: ObjectKind,
        with_copy: bool,
        label: str | None = None,
        size: str = "",
    ) -> Iterator[BuiltObject]:
        """Encode a picture without loss, and its lossy copy if asked, which has its own UID."""
        uid = str(picture.SOPInstanceUID)
        yield BuiltObject(uid, HEATMAP_CLASS, kind, label, self._encode(picture), size)
        if with_copy:
            copied = LOSSY_COPIES[kind]
            copy_uid = derived_uid(uid, self._algorithm.sha256, "jpeg")
            data = jpeg_copy(
                picture,
                sop_instance_uid=copy_uid,
                series_instance_uid=self._series_uid(copied, size),
                series_number=SERIES_NUMBERS[copied],
            )
            yield BuiltObject(copy_uid, HEATMAP_CLASS, copied, label, data, size)

    def _map(self, finding: Finding) -> NDArray[np.float32]:
        return self._prediction.heat(finding.label)

    def _series_uid(self, kind: ObjectKind, size: str = "") -> str:
        study = study_key(self._origin, self._source.uids["StudyInstanceUID"])
        return series_uid(study, self._algorithm.sha256, kind.value, size)


def film_name(source: ImageHeader) -> str:
    """Return the series, number and view of a film in words, without naming the patient."""
    named = (("series", source.series_order), ("image", source.instance_order))
    parts = [f"{word} {int(value)}" for word, value in named if value is not None]
    view = source.view_position.upper()
    return ", ".join([*parts, *([view] if view in {"PA", "AP"} else [])])


def _film_number(source: ImageHeader) -> int:
    """Return the film's InstanceNumber, so that objects of several films sort as the films do."""
    value = source.instance_order
    return int(value) if value is not None and 1 <= value < 2**31 else 1


def _built(envelope: Envelope, kind: ObjectKind, data: bytes) -> BuiltObject:
    uid = envelope.identity.sop_instance_uid
    return BuiltObject(uid, _SOP_CLASSES[kind], kind, None, data)
