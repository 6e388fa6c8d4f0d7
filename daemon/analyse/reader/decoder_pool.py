"""A pool of warm reader processes; an image that ends its process is refused."""

import logging
import multiprocessing
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from daemon.analyse.reader.decoder_process import (
    InheritedDescriptor,
    ReaderStart,
    run_decoder,
)
from daemon.analyse.reader.film import FULL_SIZE, Film, Refusal, Wanted
from daemon.analyse.reader.film_file import Form
from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyse.reader.look import Look
from daemon.analyse.reader.look_messages import LOOK_BYTES, Looked, receive_look
from daemon.analyse.reader.messages import (
    READY,
    LookRequest,
    OutOfMemoryError,
    PageLayout,
    Request,
    UnexpectedError,
    receive_outcome,
    send_request,
)
from daemon.analyse.reader.shared_pages import SharedPages
from daemon.config.sections.roles import AnalystConfig
from daemon.errors import DecoderError
from daemon.worker.role import exit_reason
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import DEFAULT_RULES, Rules

_Outcome = TypeVar("_Outcome")

log = logging.getLogger("reader")
START_SECONDS = 120.0
"""Time for a decoder to start."""
TRIES = 2
"""Decoders that must die of an image before it is refused, as one may be killed from outside."""

# Time for a decoder to exit after it has closed its channel.
_EXIT_SECONDS = 1.0

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """Limits of one image: wall clock seconds, and MiB of memory of its process."""

    seconds: float = 30.0
    memory_mb: int = 2048

    @classmethod
    def of(cls, config: AnalystConfig) -> "DecoderLimits":
        """Return the limits that the configuration sets."""
        return cls(config.decode_seconds, config.decode_memory_mb)


DEFAULT_LIMITS = DecoderLimits()


class DecoderStopped(Exception):  # noqa: N818 - an outcome, not an error
    """A decoder ended without an outcome; the text gives the reason.

    `is_final` is True if another decoder would end the same way.
    """

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class Decoder:
    """One reader process, the channel to it, and the memory that both share.

    The process ends with this process. Without a reader it only looks at files. Raises DecoderError
    if it cannot be started.
    """

    def __init__(
        self, reader: FilmReader | None, limits: DecoderLimits, context: SpawnContext = _SPAWN
    ) -> None:
        self._limits = limits
        self._side = 0 if reader is None else reader.spec.size
        self.is_expired = False
        self._channel: Connection[Any, Any]
        try:
            with ExitStack() as opened:
                self._files = SharedPages()
                opened.callback(self._files.close)
                self._outcomes = SharedPages(max(PageLayout(self._side).size, LOOK_BYTES))
                opened.callback(self._outcomes.close)
                self._process = self._start(reader, context)
                opened.pop_all()
        except OSError as error:
            raise DecoderError(
                f"no reader of images can be started ({error.strerror or error}): is this machine "
                "out of memory, or at its limit of processes or open files?"
            ) from error
        self._await_ready()

    def _start(self, reader: FilmReader | None, context: SpawnContext) -> SpawnProcess:
        start = ReaderStart(
            reader,
            InheritedDescriptor(self._files.descriptor),
            InheritedDescriptor(self._outcomes.descriptor),
            self._limits.memory_mb,
            self._limits.seconds,
        )
        self._channel, theirs = context.Pipe()
        with theirs:
            process = context.Process(
                target=run_decoder, args=(theirs, start), name="cxrd-reader", daemon=True
            )
            process.start()
        return process

    @property
    def is_alive(self) -> bool:
        """True if the process runs."""
        return self._process.is_alive()

    def read(self, data: bytes, rules: Rules, form: Form, wanted: Wanted) -> Film | Refusal:
        """Return the outcome of a file of this form.

        Raises DecoderStopped with the process ended, UnexpectedError with the process alive, and
        DecoderError with the process alive if memory has no room for the file.
        """
        request = Request(len(data), form, rules, wanted)
        return self._outcome(data, request, lambda: self.receive(wanted))

    def look(self, data: bytes, look: Look) -> Looked:
        """Return what is seen of a DICOM object. Raises as `read` does."""
        request = LookRequest(len(data), look)
        return self._outcome(
            data, request, lambda: receive_look(self._channel, self._outcomes, look)
        )

    def _outcome(
        self, data: bytes, request: Request | LookRequest, receive: Callable[[], _Outcome]
    ) -> _Outcome:
        self._files.put(data)
        timer = threading.Timer(self._limits.seconds, self._expire)
        timer.start()
        try:
            try:
                self.send(request)
                return receive()
            finally:
                timer.cancel()
                # A timer that has fired kills the process before another thread gets this decoder.
                timer.join()
        except OutOfMemoryError:
            self.end()
            raise DecoderStopped(
                f"reading the image takes more than the {self._limits.memory_mb} MiB of "
                "analyst.decode_memory_mb",
                is_final=True,
            ) from None
        except (EOFError, OSError, ValueError, LookupError, TypeError, RecursionError):
            status = self._end_and_explain()
            if self.is_expired:
                raise DecoderStopped(
                    f"reading the image took more than the {self._limits.seconds:g} s of "
                    "analyst.decode_seconds",
                    is_final=True,
                ) from None
            raise DecoderStopped(
                f"reading the image ended its process: {status}", is_final=False
            ) from None

    def send(self, request: Request | LookRequest) -> None:
        """Ask the process to read the file that lies in the shared memory."""
        send_request(self._channel, request)

    def receive(self, wanted: Wanted) -> Film | Refusal:
        """Wait for the outcome of the file sent. Raises as `receive_outcome` does."""
        return receive_outcome(self._channel, self._outcomes, self._side, wanted)

    def rest(self) -> None:
        """Give back the memory of a large film."""
        self._files.give_back()
        self._outcomes.give_back()

    def end(self) -> None:
        """End the process and give the shared memory back."""
        self._channel.close()
        self._process.kill()
        self._process.join()
        self._process.close()
        self._files.close()
        self._outcomes.close()

    def _end_and_explain(self) -> str:
        """End a process that has closed its channel, and return its exit reason."""
        self._process.join(_EXIT_SECONDS)
        self._process.kill()
        self._process.join()
        reason = exit_reason(self._process.exitcode)
        self.end()
        return reason

    def _expire(self) -> None:
        self.is_expired = True
        self._process.kill()

    def _await_ready(self) -> None:
        try:
            if self._channel.poll(START_SECONDS) and self._channel.recv_bytes() == READY:
                return
        except (EOFError, OSError):
            pass
        status = self._end_and_explain()
        raise DecoderError(
            f"no reader of images can be started ({status}); "
            "is analyst.decode_memory_mb too small, or this machine out of memory?"
        )


class DecoderPool:
    """One decoder per concurrent call, for any number of threads.

    A decoder is kept for the next call and ends with this process. Without a reader the decoders
    only look at files. `start` starts a decoder.
    """

    def __init__(
        self,
        reader: FilmReader | None,
        limits: DecoderLimits = DEFAULT_LIMITS,
        start: Callable[[FilmReader | None, DecoderLimits], Decoder] = Decoder,
    ) -> None:
        self._reader = reader
        self._limits = limits
        self._start = start
        self._idle: list[Decoder] = []
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Start one decoder ahead of the first image. Raises DecoderError if it cannot start."""
        self._give_back(self._take())

    def read(
        self,
        data: bytes,
        rules: Rules = DEFAULT_RULES,
        form: Form = Form.OBJECT,
        wanted: Wanted = FULL_SIZE,
    ) -> Film | Refusal:
        """Gate, decode and check the bytes of one file in a process of its own.

        A file that kills its decoder or exceeds a limit is refused as DECODER_FAILED. Raises
        DecoderError if no decoder can be started, or if memory has no room for the file: neither
        is the fault of the image.
        """
        return self._ask(lambda decoder: decoder.read(data, rules, form, wanted))

    def look(self, data: bytes, look: Look) -> Looked:
        """Look at the bytes of a DICOM object in a process of its own.

        Refuses and raises as `read` does.
        """
        return self._ask(lambda decoder: decoder.look(data, look))

    def end_idle(self) -> int:
        """End the decoders that no call uses, and return their number."""
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.end()
        return len(idle)

    def _ask(self, ask: Callable[[Decoder], _Outcome]) -> _Outcome | Refusal:
        problem = ""
        for _ in range(TRIES):
            # An idle decoder may have died meanwhile, so the second try starts a new one.
            decoder = self._start(self._reader, self._limits) if problem else self._take()
            try:
                outcome = ask(decoder)
            except DecoderError:
                self._give_back(decoder)
                raise
            except UnexpectedError as error:
                self._give_back(decoder)
                log.error("decoding an image raised %s at\n%s", error, error.place.rstrip())
                problem = f"reading the image ended in an unexpected {error}"
                break
            except DecoderStopped as stopped:
                problem = str(stopped)
                if stopped.is_final:
                    break
            except BaseException:
                # As when memory has no room for the outcome. No other call could end this decoder.
                decoder.end()
                raise
            else:
                self._give_back(decoder)
                return outcome
        return Refusal(Reason.DECODER_FAILED, problem)

    def _take(self) -> Decoder:
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_alive:
                    return decoder
                decoder.end()
        return self._start(self._reader, self._limits)

    def _give_back(self, decoder: Decoder) -> None:
        if decoder.is_expired:
            # The timer killed the process just after it had sent its outcome.
            decoder.end()
            return
        decoder.rest()
        with self._lock:
            self._idle.append(decoder)
