"""The reasons for which a workitem is canceled, each with its code (PS3.16 CID 9300).

PS3.3 C.30.1 takes the Procedure Step Discontinuation Reason Code from CID 9300.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_io.ups.workitems import Code
from storage.records import StudyStatus
from storage.worklist.records import StudyProgress, Workitem

_DCM = "DCM"
UNSPECIFIED = Code("110513", _DCM, "Discontinued for unspecified reason")
WRONG_ENTRY = Code("110514", _DCM, "Incorrect worklist entry selected")
NOT_SUPPORTED = Code("110522", _DCM, "Object Types not supported")
INCOMPLETE = Code("110523", _DCM, "Object Set incomplete")
INADEQUATE = Code("110527", _DCM, "Resource inadequate")
CODES = {
    code.value: code for code in (UNSPECIFIED, WRONG_ENTRY, NOT_SUPPORTED, INCOMPLETE, INADEQUATE)
}


@dataclass(frozen=True, slots=True)
class Discontinuation:
    """The reason for a canceled workitem: a code, and a text that names no patient."""

    code: Code
    text: str


REQUESTED = Discontinuation(UNSPECIFIED, "canceled as the manager asked")
NO_STUDY = Discontinuation(WRONG_ENTRY, "the workitem names no study as its input")
PURGED = Discontinuation(
    INADEQUATE, "the results of the study were deleted here after their retention time"
)


def discontinuation(
    item: Workitem, progress: StudyProgress, now: datetime, patience: timedelta
) -> Discontinuation | None:
    """Return why the workitem cannot be performed; None while it may still be.

    Missing inputs, a study in doubt and a parked job are waited for, for `patience` from the claim.
    """
    if not item.study.study_instance_uid:
        return NO_STUDY
    is_settled = not (progress.missing or progress.is_working or progress.parked)
    if is_settled and progress.hold is None and progress.status is StudyStatus.NO_ELIGIBLE_IMAGE:
        return Discontinuation(NOT_SUPPORTED, progress.detail)
    if progress.is_working or now - (item.claimed_at or now) < patience:
        return None
    if progress.missing:
        return Discontinuation(
            INCOMPLETE, f"{len(progress.missing)} input(s) of the workitem did not arrive in time"
        )
    if progress.hold is not None:
        return Discontinuation(INCOMPLETE, f"the study is in doubt: {progress.hold.reason}")
    if progress.parked:
        kinds = ", ".join(sorted({one.partition(":")[0] for one in progress.parked}))
        return Discontinuation(
            INADEQUATE, f"{len(progress.parked)} job(s) of the study failed ({kinds})"
        )
    return Discontinuation(UNSPECIFIED, "the study has no results that a destination keeps")
