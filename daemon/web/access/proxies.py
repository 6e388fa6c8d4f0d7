"""The proxies in front of the pages: their word on the client, and on the user who logged in there.

Any host can send these headers, so they count only if the TCP peer is in `web.trusted_proxies`.
"""

import ipaddress
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from daemon.config.sections.web import GROUP_MARK, WebConfig, is_printable_name
from daemon.web.access.identity import host_of
from daemon.web.access.roles import Role

log = logging.getLogger("web")

LOG_SECONDS = 60.0
"""Interval at which ignored identities are logged."""
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_UNSET = "(null)"
"""Text that Apache httpd sends for a variable without a value."""


class IdentityError(Exception):
    """A trusted proxy named no user clearly, or a user without a role. The text is for the caller.

    `status` is the HTTP status of the answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ProxyUser:
    """A user who logged in at a proxy; `role` is None if the configuration gives none."""

    name: str
    role: Role | None


class Proxies:
    """Reads the headers of trusted proxies. Runs on the event loop only."""

    def __init__(self, web: WebConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._networks = web.proxy_networks
        self._user_header = web.proxy_user_header
        self._groups_header = web.proxy_groups_header
        self._roles = {name: Role.of(role) for name, role in web.proxy_roles.items()}
        self._now = monotonic
        self._log_at = 0.0
        self._ignored = 0

    def forwarded(self, scope: Scope) -> Scope:
        """Return the scope as the client sent the request: its address, scheme and path.

        The scope is unchanged unless the TCP peer is a trusted proxy.
        """
        if not self.trusts(host_of(scope)):
            return scope
        headers = Headers(scope=scope)
        changed = dict(scope)
        changed["client"] = (self._client(host_of(scope), headers), 0)
        schemes = set(_values(headers, "x-forwarded-proto"))
        if len(schemes) == 1 and schemes <= {"http", "https"}:
            changed["scheme"] = schemes.pop()
        prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
        if _PREFIX.fullmatch(prefix) and scope["path"].startswith(f"{prefix}/"):
            changed["path"] = scope["path"].removeprefix(prefix)
        return changed

    def user(self, scope: Scope) -> ProxyUser | None:
        """Return the user that a proxy names in the unchanged scope of a request, or None.

        Raises IdentityError if the headers of a trusted proxy are empty, repeated or malformed.
        """
        if self._user_header is None:
            return None
        headers = Headers(scope=scope)
        named = headers.getlist(self._user_header)
        groups = headers.getlist(self._groups_header) if self._groups_header else []
        if not self.trusts(host_of(scope)):
            if named or groups:
                self._log_ignored(host_of(scope))
            return None
        if not named:
            return None
        if len(named) > 1 or len(groups) > 1:
            raise IdentityError(
                f"The proxy sent {self._user_header} or {self._groups_header} more than once:"
                " it must replace the headers of the client."
            )
        name = _text(named[0])
        if not is_printable_name(name) or name == _UNSET or name.startswith(GROUP_MARK):
            raise IdentityError(f"The proxy sent {self._user_header} without a usable name in it.")
        own = [name]
        for group in _text(",".join(groups)).split(","):
            own.append(f"{GROUP_MARK}{group.strip()}")
        roles = [self._roles[each] for each in own if each in self._roles]
        return ProxyUser(name, max(roles, default=None))

    def trusts(self, host: str) -> bool:
        """Return True if an address is that of a trusted proxy."""
        if not self._networks:
            return False
        address = _address(host)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def _client(self, peer: str, headers: Headers) -> str:
        """Return the last address of X-Forwarded-For that is not a trusted proxy's."""
        client = peer
        for text in reversed(_values(headers, "x-forwarded-for")):
            address = _address(_without_port(text))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def _log_ignored(self, host: str) -> None:
        self._ignored += 1
        now = self._now()
        if now < self._log_at:
            return
        self._log_at = now + LOG_SECONDS
        log.warning(
            "%s from %s ignored: the address is not in web.trusted_proxies (%d such request(s))",
            self._user_header,
            host,
            self._ignored,
        )
        self._ignored = 0


def _values(headers: Headers, name: str) -> list[str]:
    """Return the values of a header that may be repeated and may hold a list."""
    return [value.strip() for text in headers.getlist(name) for value in text.split(",")]


def _text(value: str) -> str:
    """Return a header's text: UTF-8 where it is that, else Latin-1 (as ASGI delivers it)."""
    try:
        return value.encode("latin-1").decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.strip()


def _without_port(text: str) -> str:
    """Return an address without the port and brackets that some proxies add."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
