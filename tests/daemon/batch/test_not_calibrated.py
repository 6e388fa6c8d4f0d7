"""A model says "not calibrated" wherever its probabilities are shown, unless its card proves it."""

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_model.engine.choice import open_predictor
from cxr_model.evaluate.text import bundle_text
from cxr_model.finding_text import NOT_CALIBRATED
from cxr_model.predict.bundle import Bundle
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import Refusal
from dicom_io.read.header import read_dataset
from dicom_io.report.document import build_report
from storage.records import ObjectKind
from tests.builders.images.films import film
from tests.builders.made_checks import FixedCheck, ReadsHere
from tests.builders.objects import full_header, report_content

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
AGREES = {"slope": 0.95, "slope_95": [0.8, 1.1], "patients": 120}
EXCLUDES_1 = {"slope": 0.32, "slope_95": [0.2, 0.5], "patients": 120}
KINDS = frozenset(ObjectKind)


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a dataset."""
    for element in value:
        if element.VR == "SQ":
            for item in element.value:
                yield from texts(item)
        elif isinstance(element.value, str):
            yield element.value


@pytest.mark.parametrize("calibration", [{}, EXCLUDES_1, AGREES])
def test_every_place_says_so(bundle: Path, calibration: dict[str, Any]) -> None:
    loaded = Bundle.load(bundle)
    model = loaded.with_card(replace(loaded.card, calibration=calibration))
    predictor = open_predictor(model, device="cpu", threads=1)
    pipeline = Pipeline(predictor, ReadsHere(FixedCheck(), model.card.input))
    outcome = pipeline.analyse(film("1.2.3"), "north", NOW, kinds=KINDS)
    assert not isinstance(outcome, Refusal), outcome
    agrees = calibration == AGREES
    assert (NOT_CALIBRATED in outcome.notes) is not agrees
    assert outcome.objects
    shown = [bundle_text(model)]
    shown += ["\n".join(texts(read_dataset(built.data))) for built in outcome.objects]
    report = build_report(report_content(full_header(), algorithm=pipeline.algorithm))
    shown += ["\n".join(texts(report))]
    for text in shown:
        assert "calibrated probability" not in text
        assert ("not calibrated" in text.lower()) is not agrees, text
    if calibration:
        assert f"slope {calibration['slope']:.2f}" in shown[0]
        assert f"slope {calibration['slope']:.2f}" in shown[-1]
