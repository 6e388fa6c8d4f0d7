"""The reader processes of the web role: started on first use, few, and ended when idle.

No byte of a film is decoded in the web role itself: a damaged film may crash a decoder or take it
over. Requests beyond those that may wait are refused, so that a page with many pictures does not
take all threads of the web role.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from daemon.config.sections.roles import AnalystConfig
from daemon.errors import DecoderError
from daemon.web.problems import BusyError

if TYPE_CHECKING:
    from daemon.analyse.reader.decoder_pool import DecoderPool
    from daemon.analyse.reader.look import Look
    from daemon.analyse.reader.look_messages import Looked

MOST_READERS = 2
MOST_WAITING = 16
"""Requests that may wait for a reader; a browser asks for six pictures at once."""
WAIT_SECONDS = 15.0
IDLE_SECONDS = 300.0
"""Time after the last request at which the readers end."""


class FilmReaders:
    """A bounded pool of reader processes; thread-safe."""

    def __init__(
        self,
        config: AnalystConfig,
        *,
        idle_seconds: float = IDLE_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`config` has the limits of a film. No process is started before the first request."""
        self._config = config
        self._made: DecoderPool | None = None
        self._making = threading.Lock()
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._places = threading.BoundedSemaphore(MOST_READERS)
        self._admitted = threading.BoundedSemaphore(MOST_READERS + most_waiting)
        self._lock = threading.Lock()
        self._last_used = clock()
        self._timer: threading.Timer | None = None
        self._is_warm = False

    def look(self, data: bytes, look: "Look") -> "Looked":
        """Look at the bytes of a DICOM object in a reader process.

        Raises BusyError if too many requests wait or the wait takes too long, or no process can be
        started.
        """
        with self._place():
            try:
                return self._pool.look(data, look)
            except DecoderError as error:
                raise BusyError(f"no picture can be made now: {error}") from error

    def warm_up(self) -> None:
        """Start a reader in the background unless one is there, and return at once."""
        with self._lock:
            if self._is_warm:
                return
            self._is_warm = True
        threading.Thread(target=self._start_one, name="reader-start", daemon=True).start()

    def close(self) -> None:
        """End the readers that no request uses."""
        with self._lock:
            self._is_warm = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._end_readers()

    @property
    def _pool(self) -> "DecoderPool":
        """The pool. The first use loads the libraries that read films."""
        with self._making:
            if self._made is None:
                from daemon.analyse.reader.decoder_pool import DecoderLimits, DecoderPool

                self._made = DecoderPool(None, DecoderLimits.of(self._config))
            return self._made

    def _end_readers(self) -> None:
        if self._made is not None:
            self._made.end_idle()

    def _start_one(self) -> None:
        try:
            with self._place():
                self._pool.warm_up()
        except (BusyError, DecoderError):
            # The request that needs the reader reports it.
            with self._lock:
                self._is_warm = False

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._admitted.acquire(blocking=False):
            raise BusyError("many pictures are being made: try again in some seconds")
        try:
            if not self._places.acquire(timeout=self._wait_seconds):
                raise BusyError("the pictures before this one take long: try again in some seconds")
            try:
                yield
            finally:
                self._places.release()
                self._used()
        finally:
            self._admitted.release()

    def _used(self) -> None:
        with self._lock:
            self._last_used = self._clock()
            self._is_warm = True
            if self._timer is None:
                self._start_timer(self._idle_seconds)

    def _start_timer(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            rest = self._last_used + self._idle_seconds - self._clock()
            if rest > 0:
                self._start_timer(rest)
                return
            self._timer = None
            self._is_warm = False
        self._end_readers()
