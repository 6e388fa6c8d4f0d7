"""A reader may crash, hang or run out of memory: it costs the image, and nothing else."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon import readers as readers_module
from daemon.admission import Film, Refusal, admit
from daemon.reader import UnexpectedError, receive_outcome, send_question
from daemon.readers import ReaderLimits, Readers
from dicom_io.gate import DEFAULT_RULES, Reason, Rules
from tests.daemon.running import wait_until
from tests.dicom_io.films import chest_film, chest_values, file_bytes

ROOT = Path(__file__).resolve().parents[2]
GOOD = file_bytes(chest_film(PatientOrientation=["R", "F"], PixelSpacing=["0.2", "0.18"]))
LARGE = file_bytes(chest_film(chest_values(3000, 2500)))


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with closing(Readers(ReaderLimits(seconds=20))) as opened:
        opened.warm_up()
        yield opened


def children_of(parent: int) -> set[int]:
    """The readers of a process; multiprocessing has a tracker of resources besides."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return {int(pid) for pid, command in lines if "spawn_main" in command}


def signal_all(number: int) -> set[int]:
    pids = children_of(os.getpid())
    for pid in pids:
        os.kill(pid, number)
    return pids


@pytest.mark.parametrize("rules", [DEFAULT_RULES, Rules(require_view=True)])
@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        file_bytes(chest_film(ViewPosition=None)),
        file_bytes(chest_film(ViewPosition="LL")),
        file_bytes(chest_film(np.full((200, 200), 5))),
        b"no DICOM",
    ],
    ids=["good", "no view", "lateral", "blank", "junk"],
)
def test_a_reader_answers_what_reading_here_would(
    readers: Readers, data: bytes, rules: Rules
) -> None:
    here, there = admit(data, rules), readers.admit(data, rules)
    if isinstance(here, Refusal):
        assert there == here
        return
    assert isinstance(there, Film)
    assert (there.notes, there.pose) == (here.notes, here.pose)
    assert (there.pixels == here.pixels).all()
    assert here.shown is not None
    assert there.shown is not None
    assert (there.shown == here.shown).all()
    assert there.pixels.flags.writeable


def test_threads_are_answered_each_their_own(readers: Readers) -> None:
    sides = [200 + number for number in range(12)]
    films = [file_bytes(chest_film(chest_values(side, side))) for side in sides]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(readers.admit, films))
    assert [answer.pixels.shape[0] for answer in answers if isinstance(answer, Film)] == sides


def test_a_reader_killed_from_outside_is_replaced(readers: Readers) -> None:
    assert signal_all(signal.SIGKILL)
    assert isinstance(readers.admit(GOOD), Film)


def test_an_image_that_crashes_every_reader_is_refused_by_the_signal(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def send_and_crash(channel: "Connection[Any, Any]", data: bytes, rules: Rules) -> None:
        send_question(channel, data, rules)
        asked.append(signal_all(signal.SIGSEGV))

    monkeypatch.setattr(readers_module, "send_question", send_and_crash)
    refusal = readers.admit(LARGE)
    assert refusal == Refusal(
        Reason.DECODER_FAILED, "reading the image ended its process: signal SIGSEGV"
    )
    assert len(asked) == readers_module.TRIES
    monkeypatch.undo()
    assert isinstance(readers.admit(GOOD), Film)


def test_a_reader_that_hangs_is_stopped_and_the_image_refused() -> None:
    with closing(Readers(ReaderLimits(seconds=0.5))) as readers:
        others = children_of(os.getpid())
        readers.warm_up()
        (stopped,) = children_of(os.getpid()) - others
        os.kill(stopped, signal.SIGSTOP)
        refusal = readers.admit(LARGE)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.DECODER_FAILED
        assert refusal.detail == "reading the image took more than the 0.5 s of " + (
            "analyst.decode_seconds"
        )
        assert stopped not in children_of(os.getpid())


def test_an_image_that_takes_too_much_memory_is_refused() -> None:
    with closing(Readers(ReaderLimits(memory_mb=64))) as readers:
        refusal = readers.admit(LARGE)
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.DECODER_FAILED
        assert "more than the 64 MiB of analyst.decode_memory_mb" in refusal.detail
        assert isinstance(readers.admit(GOOD), Film)


def test_a_fault_of_ours_is_told_by_its_kind_and_place_alone() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(json.dumps({"unexpected": "KeyError", "place": "line 3"}).encode())
    with pytest.raises(UnexpectedError, match="KeyError") as caught:
        receive_outcome(ours)
    assert caught.value.place == "line 3"


STUCK = """
import multiprocessing, re, sys, time
from daemon.reader import _end_with_parent

def stuck():
    _end_with_parent()
    print("stuck", flush=True)
    re.match("(a+)+$", "a" * 60 + "b")  # native code that holds the interpreter

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=stuck)
    process.start()
    print(process.pid, flush=True)
    process.join()
"""
IDLE = """
import multiprocessing, time
from daemon.readers import ReaderLimits, Readers
from tests.dicom_io.films import chest_film, file_bytes

def children():
    return [process.pid for process in multiprocessing.active_children()]

if __name__ == "__main__":
    readers = Readers(ReaderLimits())
    readers.warm_up()
    before = children()
    try:
        print(*before, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        readers.admit(file_bytes(chest_film()))
        print(children() == before, flush=True)
"""


def start(script: str, folder: Path) -> "subprocess.Popen[str]":
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def is_gone(pid: int) -> Callable[[], bool]:
    def gone() -> bool:
        status = Path(f"/proc/{pid}/stat")
        try:
            return status.read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    return gone


@pytest.mark.parametrize(("script", "lines"), [(STUCK, 2), (IDLE, 1)], ids=["stuck", "idle"])
def test_a_reader_dies_with_its_parent(tmp_path: Path, script: str, lines: int) -> None:
    with start(script, tmp_path) as parent:
        assert parent.stdout is not None
        said = [parent.stdout.readline() for _ in range(lines)]
        reader = int(next(line for line in said if line.strip().isdigit()))
        parent.kill()
        wait_until(is_gone(reader), "the reader has ended", 10)


def test_ctrl_c_does_not_reach_a_reader(tmp_path: Path) -> None:
    with start(IDLE, tmp_path) as parent:
        assert parent.stdout is not None
        reader = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "True\n"
    wait_until(is_gone(reader), "the reader has ended", 10)
