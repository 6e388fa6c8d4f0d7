"""Commands on bad files: one line, no result, in bounded time and memory.

A command that uses more than 20 s of a processor is killed, and then has no exit status of its own.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.bad_files.bundles import BUNDLES
from tests.builders.bad_files.checkpoints import CHECKPOINTS
from tests.builders.bad_files.tables import TABLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MEGABYTES = 250


def test_no_bad_file_ends_in_a_result(tmp_path: Path) -> None:
    out = tmp_path / "answers.json"
    arguments = [sys.executable, "-m", "tests.builders.bad_files.commands", str(out)]
    subprocess.run(arguments, check=True)
    answers = json.loads(out.read_text())
    cases = (*BUNDLES, *CHECKPOINTS, *TABLES)
    faults = [
        answer
        for case, answer in zip(cases, answers, strict=True)
        if answer["status"] != 1
        or answer["results"]
        or len(answer["lines"]) != 1
        or not re.search(f"^cxrd: .*({case.line})", answer["lines"][0])
        or answer["megabytes"] > MEGABYTES
    ]
    assert faults == []
