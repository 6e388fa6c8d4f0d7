"""The web application in this process, asked without a network."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from pydantic import SecretStr
from starlette.datastructures import Headers as StarletteHeaders
from starlette.types import ASGIApp, Message, Scope

from daemon.audit.logins import LoginOutcome
from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.statistics.counter import FilmCounter
from daemon.web.access.authenticator import Authenticator
from daemon.web.access.roles import Role
from daemon.web.access.token_file import KnownToken
from daemon.web.app import build_app
from storage.files.folder_spool import FolderSpool
from storage.store import Store
from tests.daemon.web.access.logins import OWN
from tests.tools.clock import Clock

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """An answer; `headers` has lower-case names."""

    status: int
    headers: dict[str, str]
    all_headers: tuple[tuple[str, str], ...]
    text: str

    @property
    def session(self) -> dict[str, str]:
        """The header that sends back the cookie of a login."""
        return {"Cookie": self.headers["set-cookie"].partition(";")[0]}


@dataclass
class House:
    """An application whose tokens are named after their roles, with what it reported."""

    app: ASGIApp
    authenticator: Authenticator
    clock: Clock
    reported: list[tuple[str, LoginOutcome, str]] = field(default_factory=list)

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Headers = (),
        body: bytes = b"",
        *,
        client: str = "127.0.0.1",
        scheme: str = "http",
        host: str = "localhost",
    ) -> Reply:
        """Return the answer to a request."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        raw = [(b"host", host.encode()), (b"content-length", str(len(body)).encode())]
        raw += [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
        plain, _, query = path.partition("?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": unquote(plain),
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": raw,
            "client": (client, 4711),
            "server": ("localhost", 80),
        }
        return asyncio.run(_ask(self.app, scope, body))

    def post(self, path: str, fields: Mapping[str, str], **options: Any) -> Reply:
        """Send a form of a page of this site."""
        headers = {**OWN, **options.pop("headers", {})}
        return self.ask(path, "POST", headers, urlencode(fields).encode(), **options)

    def secret_of(self, session: Mapping[str, str]) -> str:
        """Return the secret of the forms of a session."""
        caller = asyncio.run(
            self.authenticator.accepts(StarletteHeaders(dict(session)), "127.0.0.1")
        )
        assert caller is not None
        return caller.csrf

    def bearer(self, role: Role) -> dict[str, str]:
        """Return the header of the token with a role."""
        return {"Authorization": f"Bearer {token_of(role)}"}


def token_of(role: Role) -> str:
    return f"the-token-of-the-role-{role}"


def house_of(folder: Path, store: Store, counter: FilmCounter | None = None, **web: Any) -> House:
    """Build the application over a store, with a section `web`."""
    config = Config(data_dir=folder, web=WebConfig(**web))
    FolderSpool(config.data_dir / "spool")
    tokens = [KnownToken.of(str(role), role, SecretStr(token_of(role))) for role in Role]
    clock = Clock()
    reported: list[tuple[str, LoginOutcome, str]] = []
    authenticator = Authenticator(
        tokens, config.web, store, lambda *login: reported.append(login), clock.seconds
    )
    spool = FolderSpool(config.data_dir / "spool", 0, create=False)
    app = build_app(config, store, spool, authenticator, counter=counter)
    return House(app, authenticator, clock, reported)


async def _ask(app: ASGIApp, scope: Scope, body: bytes) -> Reply:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    # An unexpected error is raised again after its answer, for the log of the server.
    with suppress(RuntimeError):
        await app(scope, receive, send)
    start, *parts = sent
    pairs = tuple((name.decode(), value.decode()) for name, value in start["headers"])
    text = b"".join(part.get("body", b"") for part in parts).decode()
    return Reply(start["status"], dict(pairs), pairs, text)
