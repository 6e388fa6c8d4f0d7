"""The memory of films returns to the system."""

import subprocess
import sys

from tests.tools.paths import ROOT

CODE = """
import threading
from pathlib import Path
from daemon.worker.memory import return_freed_memory
return_freed_memory()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
def use():
    films = [bytearray(2_000_000) for _ in range(20)]
before = resident()
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""


def test_the_memory_of_threads_is_returned() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 4_000_000
