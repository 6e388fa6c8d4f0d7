"""Follow a merge of patient A into B in the store of a URL, two studies at a time.

A process of its own, which a test kills at a fault point.
"""

import sys
from datetime import UTC, datetime

from storage.images.patient_changes import Patients
from storage.patients.records import ChangeKind, PatientChange
from storage.tables.database import open_database
from tests.faults.points import install

AT = datetime(2026, 3, 1, tzinfo=UTC)
CHANGE = PatientChange(
    ChangeKind.MERGE, "A40", "ADT", "1", "digest", ("",), AT, "B", prior_patient_id="A"
)

if __name__ == "__main__":
    install()
    with open_database(sys.argv[1]) as database:
        Patients(database, database.now, studies_at_once=2).apply(CHANGE)
