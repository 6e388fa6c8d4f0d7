"""An HL7 receiver built on python-hl7's MLLP server, which reads every message by two libraries.

It keeps a message by its control ID, so a message that is sent again is acknowledged and not kept
twice, as an interface engine does.
"""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import hl7
from hl7.mllp import start_hl7_server

from tests.daemon.hl7.strict import strictly_parsed
from tests.tools.ports import HOST


class MllpReceiver:
    """Acknowledges each message with AA.

    `arrived` is called before a message is kept, `acknowledged` after its answer was sent; both
    with the control ID.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._changed = threading.Condition()
        self.arrived: Callable[[str], object] = lambda _: None
        self.acknowledged: Callable[[str], object] = lambda _: None
        self.results: dict[str, bytes] = {}
        self.times: Counter[str] = Counter()
        self.connections = 0

    @property
    def port(self) -> int:
        return self._port

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def wait_for(self, messages: int, seconds: float = 30.0) -> None:
        """Wait until so many messages have arrived, repeats counted."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.times.total() >= messages, seconds), (
                f"{self.times.total()} of {messages} messages arrived"
            )

    async def _start(self) -> Any:
        return await start_hl7_server(
            self._serve, HOST, self._port, encoding="utf-8", ssl=self._tls
        )

    async def _end(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

    async def _serve(self, reader: Any, writer: Any) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                block = await reader.readblock()
                message: Any = hl7.parse(block, encoding="utf-8")
                name = str(message["MSH.F10"])
                self.arrived(name)
                writer.writemessage(self._keep(name, message, block))
                await writer.drain()
                self.acknowledged(name)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _keep(self, name: str, message: Any, block: bytes) -> Any:
        strictly_parsed(block)
        with self._changed:
            self.times[name] += 1
            kept = self.results.setdefault(name, block)
            self._changed.notify_all()
        return message.create_ack("AA" if kept == block else "AE")
