"""Logins of a browser at the web role, and the users of a test."""

import asyncio
import re
from urllib.parse import urlencode

from argon2 import PasswordHasher
from pydantic import SecretStr
from starlette.datastructures import Headers

from daemon.config.sections.web import WebConfig
from daemon.web.access.authenticator import Authenticator, Login, OnLogin
from daemon.web.access.identity import Principal
from daemon.web.access.roles import Role
from daemon.web.access.sessions import COOKIE, SECURE_COOKIE
from daemon.web.access.token_file import KnownToken
from storage.store import Store
from tests.servers.website import Answer, Site
from tests.tools.clock import Clock

BROWSER = {"Accept": "text/html,*/*;q=0.8"}
OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of a test
PASSWORD = "an old password of the house"  # noqa: S105 - of a test


class Door:
    """An authenticator with the token TOKEN, called without an event loop."""

    def __init__(self, store: Store, on_login: OnLogin, clock: Clock, web: WebConfig) -> None:
        tokens = [KnownToken.of("token", Role.ADMIN, SecretStr(TOKEN))]
        self._inside = Authenticator(tokens, web, store, on_login, clock.seconds)

    def log_in(self, token: str, host: str) -> Login:
        return asyncio.run(self._inside.log_in(token, host))

    def log_out(self, headers: Headers, host: str) -> None:
        asyncio.run(self._inside.log_out(headers, host))

    def accepts(self, headers: Headers, host: str) -> Principal | None:
        return asyncio.run(self._inside.accepts(headers, host))


def quick_hash(password: str = PASSWORD) -> str:
    """Return an argon2id hash that is checked at once."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


def log_in(site: Site, token: str, **headers: str) -> Answer:
    """Send the token in the form of the login page."""
    return post(site, "/login", {"token": token}, **headers)


def post(site: Site, path: str, fields: dict[str, str], **headers: str) -> Answer:
    """Send a form as a browser does."""
    form = {"Content-Type": "application/x-www-form-urlencoded", **OWN, **headers}
    return site.ask_with(form, path, "POST", body=urlencode(fields).encode())


def session_of(answer: Answer) -> dict[str, str]:
    """Return the header that sends back the session cookie of a login."""
    found = re.match(rf"({COOKIE}|{SECURE_COOKIE})=([\w-]+);", answer.headers["set-cookie"])
    assert found
    return {"Cookie": f"{found[1]}={found[2]}"}


def secret_of(page: Answer) -> str:
    """Return the secret that the forms of a page contain."""
    found = re.search(r'name="csrf" value="([\w-]+)"', page.text)
    assert found
    return found[1]


def log_out(site: Site, session: dict[str, str], secret: str) -> Answer:
    """Send the form that ends a session."""
    body = f"csrf={secret}".encode()
    return site.ask_with({**session, **OWN}, "/logout", "POST", body=body)
