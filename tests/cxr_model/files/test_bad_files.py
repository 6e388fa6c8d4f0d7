"""Bad bundles, checkpoints and tables: refused in one line, and none ends in a result."""

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_model.calibrate.calibration import Calibration
from cxr_model.checkpoints.golden import check_golden
from cxr_model.checkpoints.importers import import_bundle
from cxr_model.data.boxes import read_boxes
from cxr_model.data.chestxray14 import load_labels, load_soft_targets
from cxr_model.data.predictions import Predictions
from cxr_model.engine.choice import open_predictor
from cxr_model.errors import ModelError
from cxr_model.predict.bundle import STARTER, Bundle
from tests.builders.bad_files.bundles import BUNDLES
from tests.builders.bad_files.case import Case, Kind
from tests.builders.bad_files.checkpoints import CHECKPOINTS
from tests.builders.bad_files.tables import TABLES, good

CASES = (*BUNDLES, *CHECKPOINTS, *TABLES)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def read_bundle(path: Path) -> object:
    return open_predictor(Bundle.load(path), device="cpu").check_reference()


def read_checkpoint(path: Path) -> object:
    return import_bundle(path, name="net", version="1", now=NOW, allow_modules=True)


READ: dict[Kind, Callable[[Path], object]] = {
    Kind.BUNDLE: read_bundle,
    Kind.CHECKPOINT: read_checkpoint,
    Kind.GOLDEN: lambda path: check_golden(Bundle.load(STARTER), path),
    Kind.PREDICTIONS: Predictions.from_csv,
    Kind.LABELS: lambda path: load_labels(path.parent, path),
    Kind.SOFT_TARGETS: load_soft_targets,
    Kind.BOXES: read_boxes,
    Kind.CALIBRATION: Calibration.load,
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.kind}: {case.name}",
            marks=[pytest.mark.slow] if case.slow else [],
        )
        for case in CASES
    ],
)
def test_a_bad_file_is_refused_in_one_line(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    with pytest.raises(ModelError) as caught:
        READ[case.kind](path)
    line = str(caught.value)
    assert re.search(case.line, line), line
    assert line.isprintable()
    assert len(line) < 500 + len(str(tmp_path))


def test_names_of_cases_are_unique() -> None:
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES) >= 40


def test_a_good_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(good())
    assert len(Predictions.from_csv(tmp_path / "good.csv")) == 3
