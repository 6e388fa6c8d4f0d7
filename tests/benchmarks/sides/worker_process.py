"""A Python process of a benchmark that is started once, and asked again and again."""

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.setting import PeerMissingError
from tests.tools.paths import ROOT


class WorkerProcess:
    """`python -m MODULE ARGUMENT …`: prints `ready`, then answers each line with a line.

    A first line other than `ready` says why it cannot run. Between two questions it sleeps, so that
    its threads do not disturb another process that is measured.
    """

    def __init__(self, module: str, *arguments: object, threads: int | None = None) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        first = self._line()
        if first != "ready":
            self._end()
            raise PeerMissingError(first or "a worker ended while it started")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def begin(self, question: Any = None) -> None:
        """Send a question without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Wait for the answer. Raises RuntimeError if the process has ended."""
        line = self._line()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended without an answer")
        return line

    def ask(self, question: Any = None) -> str:
        self.begin(question)
        return self.answer()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(30)
