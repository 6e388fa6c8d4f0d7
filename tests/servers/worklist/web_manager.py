"""A worklist manager over the web: an origin server of UPS-RS on http.server (PS3.18 11)."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

from tests.servers.worklist.steps import ConnectionEndsError, RefusedError, Worklist
from tests.tools.ports import HOST

JSON = "application/dicom+json"
_STATES = {"IN PROGRESS": "claim", "COMPLETED": "complete", "CANCELED": "cancel"}
_WARNINGS = {
    0xC301: "299 TEST: The Transaction UID is incorrect.",
    0xB304: "299 TEST: The UPS is already in the requested state of CANCELED.",
    0xB306: "299 TEST: The UPS is already in the requested state of COMPLETED.",
}
_OTHER_WARNING = (
    "299 TEST: The submitted request is inconsistent with the current state of the Target Workitem."
)


class WebWorklist(Worklist):
    """The manager. `token` is asked for if it is set; `raw_answer` replaces the next body."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.token = ""
        self.raw_answer: bytes | None = None
        self.http_status: int | None = None
        self.seconds_before_answer = 0.0
        self.has_warnings = True
        self.ignores_offset = False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/dicom-web"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        path, params = self._target()
        if path == ["workitems"]:
            self._answer("find", lambda: self._search(params))
        elif len(path) == 2:
            self._answer("get", lambda: [self._manager.get(path[1])])
        else:
            self._send(404)

    def do_POST(self) -> None:
        path, params = self._target()
        changes = self._payload()
        if len(path) != 2:
            self._send(404)
            return
        transaction = dict(params).get("transaction-uid", "")
        if transaction:
            changes.TransactionUID = transaction
        performed = "UnifiedProcedureStepPerformedProcedureSequence" in changes
        name = "performed" if performed else "progress"
        self._answer(name, lambda: self._manager.update(path[1], changes))

    def do_PUT(self) -> None:
        path, _ = self._target()
        information = self._payload()
        if len(path) != 3 or path[2] != "state":
            self._send(404)
            return
        state = str(information.get("ProcedureStepState", ""))
        transaction = str(information.get("TransactionUID") or "")
        self._answer(
            _STATES.get(state, "other"),
            lambda: self._manager.change_state(path[1], state, transaction),
        )

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def _manager(self) -> WebWorklist:
        return self.server.manager

    def _target(self) -> tuple[list[str], list[tuple[str, str]]]:
        parts = urlsplit(self.path)
        prefix, _, rest = parts.path.lstrip("/").partition("/")
        path = rest.split("/") if prefix == "dicom-web" else []
        return path, parse_qsl(parts.query)

    def _payload(self) -> Dataset:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        assert self.headers["Content-Type"] == JSON
        (ds,) = json.loads(body)
        return Dataset.from_json(ds)

    def _search(self, params: list[tuple[str, str]]) -> list[Dataset]:
        query = Dataset()
        limit, offset = 1000, 0
        for name, value in params:
            if name == "limit":
                limit = int(value)
            elif name == "offset":
                offset = 0 if self._manager.ignores_offset else int(value)
            elif name != "includefield":
                keyword, _, inner = name.partition(".")
                if inner:
                    (item,) = query.get(keyword) or [Dataset()]
                    setattr(item, inner, value)
                    setattr(query, keyword, [item])
                else:
                    tag = tag_for_keyword(keyword)
                    assert tag is not None
                    query.add_new(tag, dictionary_VR(tag), value)
        return self._manager.search(query)[offset : offset + limit]

    def _answer(self, name: str, act: Callable[[], list[Dataset] | None]) -> None:
        manager = self._manager
        if manager.token and self.headers.get("Authorization") != f"Bearer {manager.token}":
            self._send(401)
            return
        try:
            found: list[Dataset] | None = None
            with manager.operation(name) as is_done:
                if is_done:
                    found = act()
                time.sleep(manager.seconds_before_answer)
        except RefusedError as refused:
            self._refuse(refused.status)
        except ConnectionEndsError:
            self.close_connection = True
        else:
            self._send(manager.http_status or 200, found)

    def _refuse(self, status: int) -> None:
        warning = _WARNINGS.get(status, _OTHER_WARNING) if self._manager.has_warnings else ""
        if status == 0xC307:
            self._send(404)
        elif status >> 12 == 0xB:
            self._send(200, warning=warning)
        else:
            self._send(status if status < 1000 else 409, warning=warning)

    def _send(self, status: int, found: list[Dataset] | None = None, warning: str = "") -> None:
        body = b"" if found is None else json.dumps([ds.to_json_dict() for ds in found]).encode()
        raw, self._manager.raw_answer = self._manager.raw_answer, None
        body = body if raw is None else raw
        self.send_response(status)
        if body:
            self.send_header("Content-Type", JSON)
        if warning:
            self.send_header("Warning", warning)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    manager: WebWorklist

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""


@contextmanager
def running_web_manager(manager: WebWorklist | None = None, port: int = 0) -> Iterator[WebWorklist]:
    """Run a manager and yield it."""
    manager = manager or WebWorklist()
    server = _Server((HOST, port), _Handler)
    server.manager = manager
    manager.port = server.server_address[1]
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield manager
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
