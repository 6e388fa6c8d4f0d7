"""A decoder process that crashes, hangs or runs out of memory only loses the image."""

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
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.analyse.decoder_pool import TRIES, Decoder, DecoderLimits, DecoderPool
from daemon.analyse.decoder_process import UnexpectedError, receive_outcome, send_outcome
from daemon.analyse.film_file import Form
from daemon.analyse.gate_and_decode import Film, Refusal, gate_and_decode
from daemon.errors import DecoderError
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import DEFAULT_RULES, Rules
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
def test_a_decoder_process_gives_the_outcome_of_a_local_call(
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


def test_each_thread_gets_its_own_outcome(pool: DecoderPool) -> None:
    sides = [200 + number for number in range(12)]
    films = [file_bytes(chest_film(chest_values(side, side))) for side in sides]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(pool.gate_and_decode, films))
    assert [answer.pixels.shape[0] for answer in answers if isinstance(answer, Film)] == sides


def test_a_decoder_killed_from_outside_is_replaced(pool: DecoderPool) -> None:
    assert signal_all(signal.SIGKILL)
    assert isinstance(pool.gate_and_decode(GOOD), Film)


def test_an_image_that_crashes_every_decoder_is_refused_with_the_signal() -> None:
    crashed = []

    class CrashingDecoder(Decoder):
        def send(self, data: bytes, rules: Rules, form: Form) -> None:
            super().send(data, rules, form)
            if data == LARGE:
                crashed.append(signal_all(signal.SIGSEGV))

    pool = DecoderPool(DecoderLimits(seconds=20), start=CrashingDecoder)
    refusal = pool.gate_and_decode(LARGE)
    assert refusal == Refusal(
        Reason.DECODER_FAILED, "reading the image ended its process: signal SIGSEGV"
    )
    assert len(crashed) == TRIES
    assert isinstance(pool.gate_and_decode(GOOD), Film)


def test_a_decoder_that_hangs_is_stopped_and_the_image_refused() -> None:
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


@pytest.mark.slow
def test_a_decoder_killed_just_after_its_outcome_gets_no_other_image() -> None:
    late: set[int] = set()

    class LateDecoder(Decoder):
        is_alive = True
        """On a loaded machine a killed process may still count as alive."""

        def receive(self) -> Film | Refusal:
            outcome = super().receive()
            while late:
                wait_until(is_gone(late.pop()), "the time of the decoder is over", 10)
            return outcome

    pool = DecoderPool(DecoderLimits(seconds=3), start=LateDecoder)
    others = children_of(os.getpid())
    pool.warm_up()
    late |= children_of(os.getpid()) - others
    assert len(late) == 1
    assert isinstance(pool.gate_and_decode(GOOD), Film)
    assert not late
    assert isinstance(pool.gate_and_decode(GOOD), Film)


def test_an_image_that_takes_too_much_memory_is_refused() -> None:
    pool = DecoderPool(DecoderLimits(memory_mb=64))
    refusal = pool.gate_and_decode(LARGE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.DECODER_FAILED
    assert "more than the 64 MiB of analyst.decode_memory_mb" in refusal.detail
    assert isinstance(pool.gate_and_decode(GOOD), Film)


@pytest.mark.parametrize("step", ["Pipe", "Process"])
def test_a_process_that_cannot_start_is_not_blamed_on_the_image(step: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    context = SpawnContext()
    setattr(context, step, refuse)
    pool = DecoderPool(DecoderLimits(), start=lambda limits: Decoder(limits, context))
    with pytest.raises(DecoderError, match="out of memory"):
        pool.gate_and_decode(GOOD)


class _NoRoom(np.ndarray[Any, Any]):
    def astype(self, *_: Any, **__: Any) -> Any:
        raise MemoryError


def test_an_outcome_is_not_sent_in_part_when_memory_runs_out() -> None:
    ours, theirs = multiprocessing.Pipe()
    shown = np.zeros(5, np.int64).view(_NoRoom)
    with pytest.raises(MemoryError):
        send_outcome(theirs, Film(np.zeros((4, 4), np.uint8), (), AS_STORED, shown))
    assert not ours.poll()


@pytest.mark.parametrize("shape", [[-1, 4], [0, 4], [4, 70000], [4, 5], ["4", 4], 4, [4, 4, 1]])
def test_an_outcome_of_an_impossible_shape_is_refused(shape: object) -> None:
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


def test_an_outcome_beyond_the_size_limit_is_refused() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(b" " * 1001)
    with pytest.raises(OSError, match="bad message length"):
        receive_outcome(ours, 1000)


def test_an_unexpected_error_carries_only_its_type_and_place() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(json.dumps({"unexpected": "KeyError", "place": "line 3"}).encode())
    with pytest.raises(UnexpectedError, match="KeyError") as caught:
        receive_outcome(ours, 1000)
    assert caught.value.place == "line 3"


STUCK = """
import multiprocessing, re, sys, time
from daemon.analyse.decoder_process import end_with_parent

def stuck():
    end_with_parent()
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
    # A background job of a shell starts with SIGINT ignored.
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
def test_a_decoder_ends_with_its_parent(tmp_path: Path, script: str, lines: int) -> None:
    with start(script, tmp_path) as parent:
        assert parent.stdout is not None
        said = [parent.stdout.readline() for _ in range(lines)]
        decoder = int(next(line for line in said if line.strip().isdigit()))
        parent.kill()
        wait_until(is_gone(decoder), "the decoder has ended", 10)


def test_ctrl_c_does_not_reach_a_decoder(tmp_path: Path) -> None:
    with start(IDLE, tmp_path) as parent:
        assert parent.stdout is not None
        decoder = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "True\n"
    wait_until(is_gone(decoder), "the decoder has ended", 10)
