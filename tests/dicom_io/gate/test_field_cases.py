"""Files of the field whose header went wrong, each with its right outcome."""

import pytest

from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import Reason
from dicom_io.read.image_header import read_image
from tests.conftest import REAL_DATA

FOLDER = REAL_DATA.parent / "field-cases"

OUTCOMES: dict[str, Reason | None] = {
    "06_lateral_00_SeriesDescription": Reason.LATERAL_VIEW,
    "06_lateral_01_SeriesDescription": Reason.LATERAL_VIEW,
    "06_lateral_02_SeriesDescription": Reason.LATERAL_VIEW,
    "06_lateral_03_SeriesDescription": Reason.LATERAL_VIEW,
    # The tag of its ViewPosition is (0018,4C01), so the header says no view.
    "06_lateral_05_ViewPosition": None,
    "06_lateral_06_ViewPosition": Reason.LATERAL_VIEW,
    "06_lateral_09_PerformedProcedureStepDescription": Reason.LATERAL_VIEW,
    "06_openi_siemens_says_nothing": None,
    "07_bodypart_00_ascii": None,
    "07_bodypart_01_ascii": None,
    "07_bodypart_02_latin-1": None,
    "07_bodypart_05_ascii": None,
    "07_bodypart_07_ascii": None,
    "07_bodypart_08_ascii": None,
    "08_not_chest_mammo": Reason.NOT_CHEST,
    "08_not_chest_pelvis_de": Reason.NOT_CHEST,
    "08_not_chest_skull_de": Reason.NOT_CHEST,
    "08_not_chest_teeth": Reason.NOT_CHEST,
    "09_bone_suppressed": Reason.BONE_SUPPRESSED,
    "09_dual_energy_bone": Reason.DUAL_ENERGY,
    "09_other_ai_result": Reason.AI_RESULT,
    "09_quality_control_image": Reason.QUALITY_CONTROL,
}
VIEW_NOT_NAMED = {"06_lateral_05_ViewPosition", "06_openi_siemens_says_nothing"}


@pytest.mark.parametrize(("name", "reason"), OUTCOMES.items())
def test_a_file_of_the_field_has_the_right_outcome(name: str, reason: Reason | None) -> None:
    path = FOLDER / f"{name}.dcm"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    verdict = assess(read_image(path))
    assert verdict.reason is reason
    noted = any(note.startswith("view not named") for note in verdict.notes)
    assert noted is (name in VIEW_NOT_NAMED)
