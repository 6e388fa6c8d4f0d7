"""Reader processes kept warm, and what becomes of an image that one of them dies of."""

import logging
import multiprocessing
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from daemon.analyse.decoder_process import (
    READY,
    OutOfMemoryError,
    UnexpectedError,
    receive_outcome,
    run_decoder,
    send_question,
)
from daemon.analyse.gate_and_decode import Film, Refusal
from daemon.config.settings import AnalystConfig
from daemon.errors import DecoderError
from daemon.worker.role import exit_reason
from dicom_io.gate.header_check import DEFAULT_RULES, Rules
from dicom_io.gate.reasons import Reason

log = logging.getLogger("reader")

START_SECONDS = 120.0
"""A reader that is not ready after this long is taken as unable to start."""

TRIES = 2
"""A reader may be killed from outside: an image is blamed when the second one dies, too."""

# What a reader that closed its channel is given to end.
_LAST_SECONDS = 1.0

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class DecoderLimits:
    """What one image may take: seconds by the clock, and MiB of memory of its process."""

    seconds: float = 30.0
    memory_mb: int = 2048

    @classmethod
    def of(cls, config: AnalystConfig) -> "DecoderLimits":
        """The limits that the configuration sets."""
        return cls(config.decode_seconds, config.decode_memory_mb)


DEFAULT_LIMITS = DecoderLimits()


class DecoderPool:
    """As many readers as are asked at the same time; used by any number of threads.

    A reader is kept for the next question, ends when this object is given up and dies with this
    process, however that ends.
    """

    def __init__(self, limits: DecoderLimits) -> None:
        self._limits = limits
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Have one reader ready. Raises DecoderError where none can be started."""
        self._give_back(self._take())

    def gate_and_decode(self, data: bytes, rules: Rules = DEFAULT_RULES) -> Film | Refusal:
        """Gate and decode one DICOM object in a process of its own.

        What kills its reader, or takes more than the limits, is refused as DECODER_FAILED. Raises
        DecoderError where no reader can be started, which is nobody's image's fault.
        """
        problem = ""
        for _ in range(TRIES):
            # Idle ones may have died meanwhile: the second try gets a new one.
            reader = _Decoder(self._limits) if problem else self._take()
            try:
                outcome = reader.ask(data, rules)
            except UnexpectedError as error:
                self._give_back(reader)
                log.error("reading an image ended in %s at\n%s", error, error.place.rstrip())
                problem = f"reading the image ended in an unexpected {error}"
                break
            except _Stopped as stopped:
                problem = str(stopped)
                if stopped.is_final:
                    break
            else:
                self._give_back(reader)
                return outcome
        return Refusal(Reason.DECODER_FAILED, problem)

    def _take(self) -> "_Decoder":
        with self._lock:
            while self._idle:
                reader = self._idle.pop()
                if reader.is_alive:
                    return reader
                reader.end()
        return _Decoder(self._limits)

    def _give_back(self, reader: "_Decoder") -> None:
        if reader.is_expired:
            # It was killed just after it had answered.
            reader.end()
            return
        with self._lock:
            self._idle.append(reader)


class _Stopped(Exception):  # noqa: N818 - an outcome, not an error
    """A reader did not answer; the text says why. Final: another one would not either."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class _Decoder:
    """One process and the channel to it."""

    def __init__(self, limits: DecoderLimits) -> None:
        self._limits = limits
        self.is_expired = False
        self._channel: Connection[Any, Any]
        try:
            self._channel, theirs = _spawn.Pipe()
            with theirs:
                self._process: SpawnProcess = _spawn.Process(
                    target=run_decoder,
                    args=(theirs, limits.memory_mb, limits.seconds),
                    name="cxrd-reader",
                    daemon=True,
                )
                self._process.start()
        except OSError as error:
            raise DecoderError(
                f"no reader of images can be started ({error.strerror or error}): is this machine "
                "out of memory, or at its limit of processes or open files?"
            ) from error
        self._await_ready()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, data: bytes, rules: Rules) -> Film | Refusal:
        """The answer, or _Stopped with the process ended."""
        limit = threading.Timer(self._limits.seconds, self._expire)
        limit.start()
        try:
            try:
                send_question(self._channel, data, rules)
                return receive_outcome(self._channel, self._limits.memory_mb * 2**20)
            finally:
                limit.cancel()
                # One that is about to kill does so before anybody else is given this reader.
                limit.join()
        except OutOfMemoryError:
            self.end()
            raise _Stopped(
                f"reading the image takes more than the {self._limits.memory_mb} MiB of "
                "analyst.decode_memory_mb",
                is_final=True,
            ) from None
        except (EOFError, OSError, ValueError, LookupError, TypeError):
            status = self._last_words()
            if self.is_expired:
                raise _Stopped(
                    f"reading the image took more than the {self._limits.seconds:g} s of "
                    "analyst.decode_seconds",
                    is_final=True,
                ) from None
            raise _Stopped(
                f"reading the image ended its process: {status}", is_final=False
            ) from None

    def end(self) -> None:
        """End the process."""
        self._channel.close()
        self._process.kill()
        self._process.join()
        self._process.close()

    def _last_words(self) -> str:
        """End the process that closed its channel; how it ended by itself, where it did."""
        self._process.join(_LAST_SECONDS)
        self._process.kill()
        self._process.join()
        end = exit_reason(self._process.exitcode)
        self.end()
        return end

    def _expire(self) -> None:
        self.is_expired = True
        self._process.kill()

    def _await_ready(self) -> None:
        try:
            if self._channel.poll(START_SECONDS) and self._channel.recv_bytes() == READY:
                return
        except (EOFError, OSError):
            pass
        status = self._last_words()
        raise DecoderError(
            f"no reader of images can be started ({status}); "
            "is analyst.decode_memory_mb too small, or this machine out of memory?"
        )
