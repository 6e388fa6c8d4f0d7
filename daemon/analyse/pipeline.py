"""Image → findings → heatmaps → DICOM objects, without network connection, store or clock.

The daemon runs it on received instances, the batch on files.
"""

import datetime
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cxr_model.check.picture_check import PictureCheck
from cxr_model.engine.choice import gpu_present, open_predictor
from cxr_model.engine.processors import usable_cores
from cxr_model.errors import ImageError
from cxr_model.finding_text import NOT_CALIBRATED
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.card import Card
from cxr_model.predict.heatmap import Legend, render
from cxr_model.predict.prediction import Prediction
from cxr_model.predict.predictor import Predictor
from cxr_model.predict.region import Region
from cxr_model.predict.summary_sheet import Captions, draw_summary
from cxr_model.predict.transform import Geometry, Margins, NetworkInput, reduced
from daemon.analyse.batches import MOST_TOGETHER, Batches
from daemon.analyse.heat import Heat
from daemon.analyse.location import is_validated, location_sentence
from daemon.analyse.operating_point import operating_point_sentence, threshold_rule
from daemon.analyse.reader.decoder_pool import DEFAULT_LIMITS, DecoderLimits, DecoderPool
from daemon.analyse.reader.film import FULL_SIZE, Film, GreyImage, Refusal, Wanted
from daemon.analyse.reader.film_file import Form
from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyse.result_objects import (
    BuiltObject,
    Drawing,
    ObjectBuilder,
    film_name,
)
from daemon.config.picture_form import DEFAULT_FORM, DEFAULT_MAX_SIDE, PictureForm
from daemon.config.sections.work import STARTER_BUNDLE, HeatmapRule, ModelConfig
from daemon.version import own_version
from dicom_io.errors import NotDicomError, ObjectError
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import DEFAULT_RULES, Rules
from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.presentation_state import unsupported_reason
from dicom_io.objects.source_header import PatientIdentity, with_patient
from dicom_io.read.image_header import ImageHeader, read_image_header
from dicom_io.read.orientation import Pose
from storage.records import ObjectKind

MANUFACTURER = "cxrd"
"""Written into every object; the gate recognises results of this software by it."""

# Exceptions raised while building an object from a malformed header.
_BUILD_ERRORS = (
    ObjectError,
    ImageError,
    ArithmeticError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)
_FEW_CORES = 2
_DEFAULT_KINDS = frozenset({ObjectKind.HEATMAP})


@dataclass(frozen=True, slots=True)
class Analysis:
    """The findings of a film, the notes on it, and the objects that show the positive findings.

    `regions` hold, by label of a finding present, the region where its map is hottest. `heats`
    hold, by label of a finding whose heatmap is drawn, its map on the stored grid.
    """

    prediction: Prediction
    notes: tuple[str, ...]
    objects: tuple[BuiltObject, ...]
    regions: Mapping[str, Region]
    heats: Mapping[str, Heat]


class Readers(Protocol):
    """Reads files; a `DecoderPool` in service."""

    def read(self, data: bytes, rules: Rules, form: Form, wanted: Wanted) -> Film | Refusal:
        """Gate, decode and check the bytes of one file by the rules of its sender."""

    def warm_up(self) -> None:
        """Start a reader ahead of the first file."""


class Pipeline:
    """A loaded model and the steps from an image to its result."""

    def __init__(
        self,
        predictor: Predictor,
        readers: Readers,
        heatmaps: HeatmapRule = HeatmapRule.ALWAYS,
        together: int = MOST_TOGETHER,
    ) -> None:
        """At most `together` images of several threads go through the network in one run."""
        self._predictor = predictor
        self._readers = readers
        self._batches: Batches[NetworkInput, Prediction] = Batches(
            predictor.predict_inputs, together
        )
        self._withheld = _withheld(predictor.bundle.card, heatmaps)
        self.algorithm = _algorithm(predictor.bundle)
        self.reference_difference: float | None = None
        """Largest difference of a logit for the reference film; None if the card records none."""

    @classmethod
    def open(cls, config: ModelConfig, limits: DecoderLimits = DEFAULT_LIMITS) -> Self:
        """Load the configured bundle and the picture check, and run the bundle's reference film.

        Images are decoded within the limits. Raises ModelError if bundle or check cannot be used.
        """
        path = STARTER if config.bundle == STARTER_BUNDLE else Path(config.bundle)
        predictor = open_predictor(
            Bundle.load(path),
            engine=config.engine,
            device=config.device,
            threads=config.threads or None,
        )
        reader = FilmReader(PictureCheck.load(), predictor.bundle.card.input)
        pipeline = cls(predictor, DecoderPool(reader, limits), config.heatmaps, _together(config))
        pipeline.reference_difference = predictor.check_reference()
        return pipeline

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on every film that this model reads."""
        return () if self.card.calibrated else (NOT_CALIBRATED,)

    @property
    def card(self) -> Card:
        """The card of the loaded bundle."""
        return self._predictor.bundle.card

    @property
    def engine(self) -> str:
        """Library that runs the network, its version, and the processors it uses."""
        return self._predictor.engine.name

    def warm_up(self) -> None:
        """Start a reader ahead of the first image. Raises DecoderError if it cannot start."""
        self._readers.warm_up()

    def read(
        self,
        data: bytes,
        rules: Rules = DEFAULT_RULES,
        form: Form = Form.OBJECT,
        wanted: Wanted = FULL_SIZE,
    ) -> Film | Refusal:
        """Gate, decode and check one file by the rules of its sender, in a process of its own."""
        return self._readers.read(data, rules, form, wanted)

    def analyse(
        self,
        data: bytes,
        source: str,
        content_datetime: datetime.datetime,
        rules: Rules = DEFAULT_RULES,
        kinds: Collection[ObjectKind] = _DEFAULT_KINDS,
        forms: Collection[PictureForm] = (DEFAULT_FORM,),
        sha256: str | None = None,
        patient: PatientIdentity | None = None,
    ) -> Analysis | Refusal:
        """Analyse one DICOM object by its sender's rules and build the objects of these kinds.

        `sha256` is that of `data`, where the caller knows it. `patient` is the present identity of
        its patient, if that is not the one of its header.
        `source` is the source of the object: it scopes its UID. `content_datetime` is written into
        the objects; its zone counts as the site's if the image names none. A kind that cannot be
        built from this image is named in the notes. Heatmaps are built in each of the forms.
        """
        sides = _sides(forms)
        # A picture reduced twice has other pixels: several sizes are made of the whole film.
        side = sides[0] if len(sides) == 1 else None
        with_state = ObjectKind.PRESENTATION_STATE in kinds
        film = self.read(data, rules, wanted=Wanted(side, with_state))
        if isinstance(film, Refusal):
            return film
        try:
            header = read_image_header(data)
        except NotDicomError as error:
            return Refusal(Reason.UNREADABLE_OBJECT, str(error), film.notes)
        if patient is not None:
            header = with_patient(header, patient)
        upright_prediction = self._batches.result(film.input)
        prediction = _on_film(upright_prediction, film)
        notes = [*film.notes, *self.notes]
        problem = unsupported_reason(header, film.tone) if with_state else ""
        if problem:
            kinds = frozenset(kinds) - {ObjectKind.PRESENTATION_STATE}
            notes.append(f"no presentation state: {problem}")
        builder = ObjectBuilder(
            header,
            film.shown,
            film.tone,
            prediction,
            self.algorithm,
            source,
            sha256 or hashlib.sha256(data).hexdigest(),
            content_datetime,
            departure=_departure(film, header),
            withheld=self._withheld,
            identity_key=patient.key if patient is not None else "",
        )
        objects: list[BuiltObject] = []
        if ObjectKind.HEATMAP in kinds:
            for side in sides:
                picture, with_copy = reduced(film.picture, side), PictureForm(side, True) in forms
                for drawing in self.heatmaps(picture, prediction):
                    objects.extend(builder.heatmap(drawing, PictureForm(side), with_copy=with_copy))
        optional: dict[ObjectKind, Callable[[], Iterator[BuiltObject]]] = {
            ObjectKind.SUMMARY: lambda: builder.summary(
                self.summary(film, film_name(header), upright_prediction),
                with_copy=ObjectKind.SUMMARY_JPEG in kinds,
            ),
            ObjectKind.PRESENTATION_STATE: builder.presentation_state,
            ObjectKind.SEGMENTATION: builder.segmentation,
        }
        for kind, build in optional.items():
            if kind not in kinds:
                continue
            try:
                objects.extend(build())
            except _BUILD_ERRORS as error:
                # The note names only the type, because the text may quote the header.
                notes.append(f"no {kind.replace('_', ' ')}: {type(error).__name__}")
        return Analysis(
            prediction,
            tuple(notes),
            tuple(objects),
            builder.regions,
            self._heats(prediction, film.pose),
        )

    def predict_all(self, films: Sequence[Film]) -> list[Prediction]:
        """Return the calibrated findings of several films, in their order, in one batch.

        The network gets each film upright; maps and geometry are those of the stored grid.
        """
        predictions = self._predictor.predict_inputs([film.input for film in films])
        return [_on_film(found, film) for found, film in zip(predictions, films, strict=True)]

    def summary(self, film: Film, name: str, prediction: Prediction) -> NDArray[np.uint8]:
        """Draw the summary sheet of a film upright, uint8 (rows, cols, 3), titled by its name.

        Maps and geometry of the prediction are those of the upright film. The film is reduced
        first, so that the sheet does not depend on the forms of the heatmaps.
        """
        card = self.card
        captions = Captions(
            image=name,
            model=", ".join((_named(card), f"sha256 {self.algorithm.sha256[:12]}")),
            operating_point=threshold_rule(card.operating_point),
            notes={
                label: "no map: " * (label in self._withheld) + "location not validated"
                for label in card.labels
                if not is_validated(card.metrics, label)
            },
        )
        scales = {
            label: scale for label, scale in card.map_scales.items() if label not in self._withheld
        }
        upright = film.pose.to_display(reduced(film.picture, DEFAULT_MAX_SIDE))
        return draw_summary(upright, prediction, scales, captions)

    def heatmaps(self, picture: GreyImage, prediction: Prediction) -> Iterator[Drawing]:
        """Draw one overlay per finding at or above its threshold; an absent finding gets none.

        `picture` is the film of the prediction as it is stored, uint8 (rows, cols), or reduced.
        With `model.heatmaps: validated` a finding whose maps are not validated gets none, either.
        """
        card = self._predictor.bundle.card
        for finding in prediction.present:
            if finding.label in self._withheld:
                continue
            location = location_sentence(card.metrics, finding.label)
            rgb = render(
                picture,
                prediction.heat(finding.label, (picture.shape[0], picture.shape[1])),
                scale=card.map_scales[finding.label],
                legend=Legend(
                    finding=finding.label.replace("_", " "),
                    value=f"probability {finding.probability:.3f}, "
                    f"threshold {finding.threshold:.3f}",
                    location=location,
                    model=_named(card),
                ),
            )
            yield Drawing(finding, rgb, rgb.shape[0] - picture.shape[0], location)

    def _heats(self, prediction: Prediction, pose: Pose) -> dict[str, Heat]:
        """Return the map of each finding that gets a heatmap, whether or not a peer wants one."""
        scales = self.card.map_scales
        return {
            finding.label: Heat.of(prediction, finding.label, pose, scales[finding.label])
            for finding in prediction.present
            if finding.label not in self._withheld
        }

    def self_test(self) -> float:
        """Return the largest difference between mean(map) + bias and the logit; it is about 0."""
        ramp = np.tile(np.linspace(0, 255, 256, dtype=np.uint8), (256, 1))
        (prediction,) = self._predictor.predict([ramp])
        bias = self._predictor.bundle.label_bias
        sums = prediction.maps.mean(axis=(1, 2)) + bias
        logits = np.asarray([finding.logit for finding in prediction.findings])
        return float(np.abs(sums - logits).max())


def _together(config: ModelConfig) -> int:
    """Return the most images that threads run together.

    Two cores gain an eighth by it at most, and would hold the network a second time for it.
    """
    if config.device != "cpu" and gpu_present():
        return MOST_TOGETHER
    return MOST_TOGETHER if (config.threads or usable_cores()) > _FEW_CORES else 1


def _withheld(card: Card, heatmaps: HeatmapRule) -> frozenset[str]:
    """Return the labels whose maps are not shown."""
    if heatmaps is HeatmapRule.ALWAYS:
        return frozenset()
    return frozenset(label for label in card.labels if not is_validated(card.metrics, label))


def _algorithm(bundle: Bundle) -> Algorithm:
    card = bundle.card
    methods = sorted({str(calibrator["method"]) for calibrator in card.calibrators.values()})
    curves = json.dumps(dict(card.calibrators), sort_keys=True, default=dict)
    return Algorithm(
        name=card.name,
        version=card.version,
        manufacturer=MANUFACTURER,
        sha256=bundle.sha256,
        calibrated=card.calibrated,
        calibration=f"{card.calibration_words()}; per finding ({', '.join(methods)})",
        calibration_version=hashlib.sha256(curves.encode()).hexdigest()[:12],
        operating_point=operating_point_sentence(card.operating_point),
        intended_use=card.intended_use,
        parameters=(f"Software: cxrd {own_version()}",),
        locations={label: location_sentence(card.metrics, label) for label in card.labels},
    )


def _sides(forms: Collection[PictureForm]) -> list[int | None]:
    """Return the sizes of these forms, the size of the film last."""
    sides = {form.max_side for form in forms}
    return [*sorted(side for side in sides if side is not None), *([None] if None in sides else [])]


def _named(card: Card) -> str:
    """Return name and version of a model for a picture, and that it is not calibrated."""
    return f"{card.name} {card.version}" + ("" if card.calibrated else ", not calibrated")


def _departure(film: Film, header: ImageHeader) -> str:
    """Name the way in which the picture, not the header, made the film; empty if it did not."""
    pose, _ = header.pose
    turned = f"pose {astuple(film.pose)}" if film.pose != pose else ""
    return turned + (" inverted" if film.tone.inverted else "")


def _on_film(upright: Prediction, film: Film) -> Prediction:
    """Return the prediction of an upright film with its maps on the film's stored grid."""
    return on_stored_grid(upright, film.pose, film.rows, film.columns)


def on_stored_grid(prediction: Prediction, pose: Pose, rows: int, columns: int) -> Prediction:
    """Return the prediction of an upright film with maps and geometry of its stored grid."""
    box = prediction.geometry
    top, left, height, width = box.top, box.left, box.height, box.width
    above, before, below, after = box.margins
    if pose.columns_reversed:
        left = box.size - left - width
        before, after = after, before
    if pose.rows_reversed:
        top = box.size - top - height
        above, below = below, above
    if pose.transposed:
        top, left, height, width = left, top, width, height
        above, before, below, after = before, above, after, below
    margins = Margins(above, before, below, after)
    baseline = prediction.baseline
    return replace(
        prediction,
        maps=pose.to_stored(prediction.maps),
        baseline=None if baseline is None else pose.to_stored(baseline),
        geometry=Geometry(rows, columns, box.size, top, left, height, width, margins),
    )
