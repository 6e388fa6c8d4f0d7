"""The performance of a workitem, as its final state tells it."""

import datetime
from collections.abc import Mapping

from daemon.worklist.outputs import Keeper, series_of
from dicom_io.ups.workitems import Code, Performed
from storage.worklist.records import Workitem

DETECTION = Code("110004", "DCM", "Computer Aided Detection")
"""The Performed Workitem Code of a workitem without a code of its own."""


def performed_of(
    item: Workitem, station: Code, codes: tuple[Code, ...], keepers: Mapping[str, Keeper]
) -> Performed:
    """Return what was done for a workitem whose outputs are recorded; a repeat returns the same."""
    return Performed(
        station_name=station,
        codes=codes or (DETECTION,),
        started=moment(item.claimed_at or item.found_at),
        ended=moment(item.ended_at or item.updated_at),
        outputs=series_of(item.outputs, keepers),
        description=f"{len(item.outputs)} object(s) delivered",
    )


def moment(at: datetime.datetime) -> str:
    """Return a time as a value of DT (PS3.5 6.2)."""
    return at.astimezone(datetime.UTC).strftime("%Y%m%d%H%M%S.%f+0000")
