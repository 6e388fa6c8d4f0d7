"""The reduced tables of highdicom still hold what the objects made here need."""

import subprocess
import sys

from tests.tools.paths import ROOT

CODE = """
from highdicom._standard_utils import get_module_attribute_map, is_attribute_in_iod
from dicom_io.objects.classes import RESULT_CLASSES
from dicom_io.report.attribute_tables import reduce_tables
whole = {name: len(rows) for name, rows in get_module_attribute_map().items()}
reduce_tables()
kept = {name: len(rows) for name, rows in get_module_attribute_map().items()}
assert sum(kept.values()) * 5 < sum(whole.values())
assert all(whole[name] == count for name, count in kept.items())
for uid in (*RESULT_CLASSES, "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7.2"):
    assert is_attribute_in_iod("PatientName", uid), uid
"""


def test_the_tables_keep_the_modules_of_the_classes_in_use() -> None:
    # In a process of its own: the tables belong to the process.
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
