"""A reader process that crashes, hangs or runs out of memory only loses the image."""

import errno
import gc
import json
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.analyse.reader.decoder_pool import TRIES, Decoder, DecoderLimits, DecoderPool
from daemon.analyse.reader.film import FULL_SIZE, Film, Refusal, Wanted
from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyse.reader.messages import (
    LookRequest,
    PageLayout,
    Request,
    UnexpectedError,
    receive_outcome,
    send_outcome,
)
from daemon.analyse.reader.shared_pages import KEPT_BYTES, SharedPages
from daemon.errors import DecoderError
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import DEFAULT_RULES, Rules
from tests.builders.images.films import chest_film, chest_values, file_bytes
from tests.builders.made_checks import PLAIN
from tests.servers.watching import children_of
from tests.tools.paths import ROOT
from tests.tools.waiting import wait_until

GOOD = file_bytes(chest_film(PatientOrientation=["R", "F"], PixelSpacing=["0.2", "0.18"]))
LARGE = file_bytes(chest_film(chest_values(3000, 2500)))
LAYOUT = PageLayout(PLAIN.spec.size)


@pytest.fixture(scope="module")
def pool() -> DecoderPool:
    opened = DecoderPool(PLAIN, DecoderLimits(seconds=20))
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
    wanted = Wanted(picture_side=170, shown=True)
    here, there = (reader.read(data, rules, wanted=wanted) for reader in (PLAIN, pool))
    if isinstance(here, Refusal):
        assert there == here
        return
    assert isinstance(there, Film)
    assert isinstance(here, Film)
    assert there.picture.shape == here.picture.shape
    assert max(here.picture.shape) == 170
    assert (there.picture == here.picture).all()
    assert (there.input.square == here.input.square).all()
    assert there.input.geometry == here.input.geometry
    plain = ("rows", "columns", "notes", "pose", "tone")
    assert [getattr(there, name) for name in plain] == [getattr(here, name) for name in plain]
    assert here.shown is not None
    assert there.shown is not None
    assert (there.shown == here.shown).all()
    assert there.picture.flags.writeable


def test_each_thread_gets_its_own_outcome(pool: DecoderPool) -> None:
    sides = [200 + number for number in range(12)]
    films = [file_bytes(chest_film(chest_values(side, side))) for side in sides]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(pool.read, films))
    assert [answer.rows for answer in answers if isinstance(answer, Film)] == sides


def test_a_decoder_killed_from_outside_is_replaced(pool: DecoderPool) -> None:
    assert signal_all(signal.SIGKILL)
    assert isinstance(pool.read(GOOD), Film)


def test_an_image_that_crashes_every_decoder_is_refused_with_the_signal() -> None:
    crashed = []

    class CrashingDecoder(Decoder):
        def send(self, request: Request | LookRequest) -> None:
            super().send(request)
            if request.length == len(LARGE):
                crashed.append(signal_all(signal.SIGSEGV))

    pool = DecoderPool(PLAIN, DecoderLimits(seconds=20), start=CrashingDecoder)
    refusal = pool.read(LARGE)
    assert refusal == Refusal(
        Reason.DECODER_FAILED, "reading the image ended its process: signal SIGSEGV"
    )
    assert len(crashed) == TRIES
    assert isinstance(pool.read(GOOD), Film)


def test_a_decoder_that_hangs_is_stopped_and_the_image_refused() -> None:
    pool = DecoderPool(PLAIN, DecoderLimits(seconds=0.5))
    others = children_of(os.getpid())
    pool.warm_up()
    (stopped,) = children_of(os.getpid()) - others
    os.kill(stopped, signal.SIGSTOP)
    refusal = pool.read(LARGE)
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

        def receive(self, wanted: Wanted) -> Film | Refusal:
            outcome = super().receive(wanted)
            while late:
                wait_until(is_gone(late.pop()), "the time of the decoder is over", 10)
            return outcome

    pool = DecoderPool(PLAIN, DecoderLimits(seconds=3), start=LateDecoder)
    others = children_of(os.getpid())
    pool.warm_up()
    late |= children_of(os.getpid()) - others
    assert len(late) == 1
    assert isinstance(pool.read(GOOD), Film)
    assert not late
    assert isinstance(pool.read(GOOD), Film)


def test_an_image_that_takes_too_much_memory_is_refused() -> None:
    pool = DecoderPool(PLAIN, DecoderLimits(memory_mb=24))
    refusal = pool.read(LARGE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.DECODER_FAILED
    assert "more than the 24 MiB of analyst.decode_memory_mb" in refusal.detail
    assert isinstance(pool.read(GOOD), Film)


@pytest.mark.parametrize("step", ["Pipe", "Process"])
def test_a_process_that_cannot_start_is_not_blamed_on_the_image(step: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    context = SpawnContext()
    setattr(context, step, refuse)

    def start(reader: FilmReader | None, limits: DecoderLimits) -> Decoder:
        return Decoder(reader, limits, context)

    pool = DecoderPool(PLAIN, start=start)
    with pytest.raises(DecoderError, match="out of memory"):
        pool.read(GOOD)


class _EndsAtStart:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (1,)


def test_a_decoder_that_dies_at_its_start_leaves_no_open_file() -> None:
    def shared() -> int:
        gc.collect()
        links = Path("/proc/self/fd").iterdir()
        return sum("cxrd-film" in str(link.readlink()) for link in links if link.is_symlink())

    before = shared()
    reader = replace(PLAIN, examiner=_EndsAtStart())  # type: ignore[arg-type]
    with pytest.raises(DecoderError, match="exit status 1"):
        DecoderPool(reader).warm_up()
    assert shared() == before


def test_a_decoder_whose_outcome_has_no_room_is_ended() -> None:
    class FullDecoder(Decoder):
        def receive(self, wanted: Wanted) -> Film | Refusal:
            super().receive(wanted)
            raise MemoryError

    others = children_of(os.getpid())
    with pytest.raises(MemoryError):
        DecoderPool(PLAIN, start=FullDecoder).read(GOOD)
    assert children_of(os.getpid()) <= others


class _NoRoom(np.ndarray[Any, Any]):
    def astype(self, *_: Any, **__: Any) -> Any:
        raise MemoryError


@pytest.fixture
def pages() -> Iterator[SharedPages]:
    opened = SharedPages(LAYOUT.size)
    yield opened
    opened.close()


def an_outcome() -> Film:
    outcome = PLAIN.read(GOOD, wanted=Wanted(shown=True))
    assert isinstance(outcome, Film)
    return outcome


def passed_on(
    outcome: Film, pages: SharedPages, change: Callable[[dict[str, Any]], object] = lambda _: None
) -> Film | Refusal:
    """Return what is received of an outcome whose message is changed on the way."""
    ours, theirs = multiprocessing.Pipe()
    with mmap.mmap(pages.descriptor, 0) as mapped, memoryview(mapped) as view:
        send_outcome(theirs, outcome, view)
    answer = json.loads(ours.recv_bytes())
    change(answer)
    theirs.send_bytes(json.dumps(answer).encode())
    return receive_outcome(ours, pages, PLAIN.spec.size, FULL_SIZE)


def test_an_outcome_is_not_sent_in_part_when_memory_runs_out(pages: SharedPages) -> None:
    outcome = replace(an_outcome(), shown=np.zeros(5, np.int64).view(_NoRoom))
    ours, theirs = multiprocessing.Pipe()
    with (
        mmap.mmap(pages.descriptor, 0) as mapped,
        memoryview(mapped) as view,
        pytest.raises(MemoryError),
    ):
        send_outcome(theirs, outcome, view)
    assert not ours.poll()


@pytest.mark.parametrize(
    "changed",
    [
        *({"rows": rows} for rows in (-1, 0, 70000, "4", 4.0, None, True)),
        {"rows": 60000, "columns": 60000},
        *({"margins": margins} for margins in ([0.1], [0, 0, 0, float("nan")], [2, 0, 0, 0], 4)),
        *({"shown": count} for count in (0, -1, 2**20 + 1, 2.5, [3])),
        *({"pose": {"aspect": aspect}} for aspect in (float("inf"), float("nan"), 0, 5, "1")),
        {"pose": {"transposed": 1}},
        *({"tone": {"function": number}} for number in (-2, 99, 0.5)),
        *({"tone": {"centre": value}} for value in (float("nan"), float("inf"), "1", 1e300)),
        {"tone": {"inverted": None}},
        {"notes": None},
    ],
    ids=str,
)
def test_an_impossible_outcome_is_refused(pages: SharedPages, changed: dict[str, Any]) -> None:
    outcome = an_outcome()
    assert isinstance(passed_on(outcome, pages), Film)

    def change(answer: dict[str, Any]) -> None:
        for name, value in changed.items():
            answer[name] = answer[name] | value if isinstance(value, dict) else value

    with pytest.raises((ValueError, TypeError)):
        passed_on(outcome, pages, change)


@pytest.mark.slow
def test_an_outcome_that_is_nested_too_deep_is_no_fault_of_this_process() -> None:
    """A damaged image may have taken over the reader."""

    class LyingDecoder(Decoder):
        def receive(self, wanted: Wanted) -> Film | Refusal:
            super().receive(wanted)
            return Film(*json.loads("[" * 10**6))

    outcome = DecoderPool(PLAIN, start=LyingDecoder).read(GOOD)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.DECODER_FAILED


def test_shared_memory_that_the_reader_cut_off_is_no_film(pages: SharedPages) -> None:
    outcome = an_outcome()

    def cut(_: object) -> None:
        os.ftruncate(pages.descriptor, LAYOUT.picture + 1)

    with pytest.raises(EOFError):
        passed_on(outcome, pages, cut)


def test_the_memory_of_a_large_film_is_given_back() -> None:
    pages = SharedPages()
    pages.put(bytes(KEPT_BYTES + 2**20))
    assert (pages.take((9,), np.uint8, KEPT_BYTES + 5) == 0).all()
    pages.give_back()
    assert os.fstat(pages.descriptor).st_blocks * 512 <= KEPT_BYTES
    pages.put(b"abc")
    assert pages.take((3,), np.uint8, 0).tobytes() == b"abc"
    pages.close()


def test_a_system_without_memory_files_takes_an_unlinked_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    pool = DecoderPool(PLAIN)
    outcome = pool.read(GOOD)
    assert isinstance(outcome, Film)
    assert (outcome.picture == an_outcome().picture).all()


def test_a_file_that_memory_has_no_room_for_is_not_blamed(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DecoderError, match="cannot be passed"):
        pool.read(GOOD)
    monkeypatch.undo()
    assert isinstance(pool.read(GOOD), Film)


def test_an_outcome_beyond_the_size_limit_is_refused(
    pages: SharedPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.analyse.reader.messages.MOST_BYTES", 1000)
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(b" " * 1001)
    with pytest.raises(OSError, match="bad message length"):
        receive_outcome(ours, pages, 64, FULL_SIZE)


def test_an_unexpected_error_carries_only_its_type_and_place(pages: SharedPages) -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.send_bytes(json.dumps({"unexpected": "KeyError", "place": "line 3"}).encode())
    with pytest.raises(UnexpectedError, match="KeyError") as caught:
        receive_outcome(ours, pages, 64, FULL_SIZE)
    assert caught.value.place == "line 3"


STUCK = """
import multiprocessing, re, sys, time
from daemon.analyse.reader.decoder_process import end_with_parent

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
from daemon.analyse.reader.decoder_pool import DecoderPool
from tests.builders.images.films import chest_film, file_bytes
from tests.builders.made_checks import PLAIN

def children():
    return [process.pid for process in multiprocessing.active_children()]

if __name__ == "__main__":
    # A background job of a shell starts with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = DecoderPool(PLAIN)
    pool.warm_up()
    before = children()
    try:
        print(*before, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        pool.read(file_bytes(chest_film()))
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
