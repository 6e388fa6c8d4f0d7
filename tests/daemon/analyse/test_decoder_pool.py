"""A reader may crash, hang or run out of memory: it costs the image, and nothing else."""

import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.analyse import decoder_pool
from daemon.analyse.decoder_pool import DecoderLimits, DecoderPool
from daemon.analyse.decoder_process import (
    UnexpectedError,
    receive_outcome,
    send_outcome,
    send_question,
)
from daemon.analyse.gate_and_decode import Film, Refusal, gate_and_decode
from daemon.errors import DecoderError
from dicom_io.gate.header_check import DEFAULT_RULES, Rules
from dicom_io.gate.reasons import Reason
from dicom_io.read.orientation import AS_STORED
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.servers.watching import children_of
from tests.tools.paths import ROOT
from tests.tools.waiting import wait_until

GOOD = file_bytes(chest_film(PatientOrientation=["R", "F"], PixelSpacing=["0.2", "0.18"]))

LARGE = file_bytes(chest_film(chest_values(3000, 2500)))


@pytest.fixture(scope="module")
def pool() -> DecoderPool:
    opened = DecoderPool(DecoderLimits(seconds=20))
    opened.warm_up()
    return opened


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
    pool: DecoderPool, data: bytes, rules: Rules
) -> None:
    here, there = gate_and_decode(data, rules), pool.gate_and_decode(data, rules)
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


def test_threads_are_answered_each_their_own(pool: DecoderPool) -> None:
    sides = [200 + number for number in range(12)]
    films = [file_bytes(chest_film(chest_values(side, side))) for side in sides]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(pool.gate_and_decode, films))
    assert [answer.pixels.shape[0] for answer in answers if isinstance(answer, Film)] == sides


def test_a_reader_killed_from_outside_is_replaced(pool: DecoderPool) -> None:
    assert signal_all(signal.SIGKILL)
    assert isinstance(pool.gate_and_decode(GOOD), Film)


def test_an_image_that_crashes_every_reader_is_refused_by_the_signal(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def send_and_crash(channel: "Connection[Any, Any]", data: bytes, rules: Rules) -> None:
        send_question(channel, data, rules)
        asked.append(signal_all(signal.SIGSEGV))

    monkeypatch.setattr(decoder_pool, "send_question", send_and_crash)
    refusal = pool.gate_and_decode(LARGE)
    assert refusal == Refusal(
        Reason.DECODER_FAILED, "reading the image ended its process: signal SIGSEGV"
    )
    assert len(asked) == decoder_pool.TRIES
    monkeypatch.undo()
    assert isinstance(pool.gate_and_decode(GOOD), Film)


def test_a_reader_that_hangs_is_stopped_and_the_image_refused() -> None:
    pool = DecoderPool(DecoderLimits(seconds=0.5))
    others = children_of(os.getpid())
    pool.warm_up()
    (stopped,) = children_of(os.getpid()) - others
    os.kill(stopped, signal.SIGSTOP)
    refusal = pool.gate_and_decode(LARGE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.DECODER_FAILED
    assert refusal.detail == "reading the image took more than the 0.5 s of " + (
        "analyst.decode_seconds"
    )
    assert stopped not in children_of(os.getpid())


def test_a_reader_killed_just_after_its_answer_is_given_no_other_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = DecoderPool(DecoderLimits(seconds=3))
    others = children_of(os.getpid())
    pool.warm_up()
    (own,) = children_of(os.getpid()) - others

    def receive_late(channel: "Connection[Any, Any]", most_bytes: int) -> Film | Refusal:
        outcome = receive_outcome(channel, most_bytes)
        wait_until(is_gone(own), "the reader's time is over", 10)
        return outcome

    with monkeypatch.context() as slow:
        slow.setattr(decoder_pool, "receive_outcome", receive_late)
        assert isinstance(pool.gate_and_decode(GOOD), Film)
    # Killed and not yet seen to be dead, as a machine under load may have it.
    monkeypatch.setattr(decoder_pool._Decoder, "is_alive", True)
    assert isinstance(pool.gate_and_decode(GOOD), Film)


def test_an_image_that_takes_too_much_memory_is_refused() -> None:
    pool = DecoderPool(DecoderLimits(memory_mb=64))
    refusal = pool.gate_and_decode(LARGE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.DECODER_FAILED
    assert "more than the 64 MiB of analyst.decode_memory_mb" in refusal.detail
    assert isinstance(pool.gate_and_decode(GOOD), Film)


@pytest.mark.parametrize("step", ["Pipe", "Process"])
def test_a_system_that_gives_no_process_is_no_fault_of_the_image(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(decoder_pool._spawn, step, refuse)
    with pytest.raises(DecoderError, match="out of memory"):
        DecoderPool(DecoderLimits()).gate_and_decode(GOOD)


class _NoRoom(np.ndarray[Any, Any]):
    def astype(self, *_: Any, **__: Any) -> Any:
        raise MemoryError


def test_an_answer_that_memory_runs_out_on_is_not_begun() -> None:
    ours, theirs = multiprocessing.Pipe()
    shown = np.zeros(5, np.int64).view(_NoRoom)
    with pytest.raises(MemoryError):
        send_outcome(theirs, Film(np.zeros((4, 4), np.uint8), (), AS_STORED, shown))
    assert not ours.poll()


@pytest.mark.parametrize("shape", [[-1, 4], [0, 4], [4, 70000], [4, 5], ["4", 4], 4, [4, 4, 1]])
def test_an_answer_of_another_shape_than_an_image_is_none(shape: object) -> None:
    ours, theirs = multiprocessing.Pipe()
    answer = {
        "notes": [],
        "pose": dataclasses.asdict(AS_STORED),
        "shape": shape,
        "has_shown": False,
    }
    theirs.send_bytes(json.dumps(answer).encode())
    theirs.send_bytes(b"x" * 16)
    with pytest.raises((ValueError, TypeError)):
        receive_outcome(ours, 1000)


def test_no_more_is_taken_from_a_reader_than_it_may_have() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(b" " * 1001)
    with pytest.raises(OSError, match="bad message length"):
        receive_outcome(ours, 1000)


def test_a_fault_of_ours_is_told_by_its_kind_and_place_alone() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(json.dumps({"unexpected": "KeyError", "place": "line 3"}).encode())
    with pytest.raises(UnexpectedError, match="KeyError") as caught:
        receive_outcome(ours, 1000)
    assert caught.value.place == "line 3"


STUCK = """
import multiprocessing, re, sys, time
from daemon.analyse.decoder_process import _end_with_parent

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
import multiprocessing, signal, time
from daemon.analyse.decoder_pool import DecoderLimits, DecoderPool
from tests.builders.images.films import chest_film, file_bytes

def children():
    return [process.pid for process in multiprocessing.active_children()]

if __name__ == "__main__":
    # A shell's background job is born deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = DecoderPool(DecoderLimits())
    pool.warm_up()
    before = children()
    try:
        print(*before, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        pool.gate_and_decode(file_bytes(chest_film()))
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
