import pytest

from cxr_model.findings import LABELS
from daemon.words.findings import MEANINGS, UNKNOWN_FINDING, meaning_of, title_of
from daemon.words.reasons import (
    NO_RESULT_YET,
    PURGED,
    REJECTED,
    SET_ASIDE,
    advice_on,
    advice_on_status,
    rejection_words,
)
from dicom_io.gate.reasons import Reason
from storage.records import HoldReason, StudyStatus

OWN = (NO_RESULT_YET, PURGED, REJECTED, SET_ASIDE)


@pytest.mark.parametrize("reason", [*Reason, *HoldReason, *OWN])
def test_every_reason_has_words_and_an_action(reason: str) -> None:
    advice = advice_on(reason)
    assert advice.code == reason
    assert advice.words.endswith(".")
    assert advice.action.endswith(".")
    assert "another version" not in advice.words


@pytest.mark.parametrize("status", StudyStatus)
def test_every_status_of_a_study_has_words(status: StudyStatus) -> None:
    assert advice_on_status(status).words.endswith(".")


def test_a_reason_of_another_version_is_named() -> None:
    assert advice_on("LATER_REASON").code == "LATER_REASON"
    assert "another version" in advice_on("LATER_REASON").words


def test_a_rejection_is_named_by_code_and_meaning() -> None:
    assert rejection_words("113001") == "113001, Rejected for Quality Reasons"
    assert rejection_words("99") == "99"


def test_every_finding_is_described() -> None:
    assert set(MEANINGS) == set(LABELS)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())
    assert meaning_of("Fracture") == UNKNOWN_FINDING
    assert title_of("Pleural_Thickening") == "Pleural Thickening"
