"""The section `web`: address, tokens, accounts, and the proxies in front of the pages.

Names of tokens and accounts are the actors of the audit trail, so each is given once.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon.config.fields import KeyPair, ListenHost, Port, Section, Token, below

MAIN_TOKEN = "token"  # noqa: S105 - a name, not a secret
"""Name of `web.token` in messages and in the audit trail."""

NAME_CHARACTERS = 64
"""Most characters in the name of a token, an account or a user of a proxy."""

GROUP_MARK = "@"
"""First character of a group's name in `proxy_roles`."""

MOST_HASH_MEMORY_KIB = 262_144
MOST_HASH_PASSES = 16
MOST_HASH_LANES = 16

_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>\d{1,7}),t=(?P<passes>\d{1,3}),p=(?P<lanes>\d{1,3})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,86}"
)
_HEADER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHER_HEADERS = frozenset(
    {
        *("authorization", "connection", "content-length", "content-type", "cookie", "host"),
        *("origin", "referer", "transfer-encoding", "x-forwarded-for", "x-forwarded-prefix"),
        "x-forwarded-proto",
    }
)
"""Headers with a meaning of their own, which cannot carry an identity."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WebRole(StrEnum):
    """Roles of tokens, accounts and users of a proxy; each includes the earlier ones."""

    METRICS = "metrics"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def is_printable_name(name: str) -> bool:
    """Return True if a name can stand in the log, the audit trail and a page."""
    return 1 <= len(name) <= NAME_CHARACTERS and name.isprintable() and name == name.strip()


def _checked_name(value: str) -> str:
    if not is_printable_name(value) or value == MAIN_TOKEN:
        raise ValueError(
            f"a name has 1 to {NAME_CHARACTERS} printable characters, no space around them, and is"
            f" not {MAIN_TOKEN!r}"
        )
    return value


def _checked_password_hash(value: SecretStr) -> SecretStr:
    found = _HASH.fullmatch(value.get_secret_value())
    if found is None:
        raise ValueError("must be an argon2id hash, as `cxrd web hash-password` prints it")
    memory, passes, lanes = (int(found[key]) for key in ("memory", "passes", "lanes"))
    if memory > MOST_HASH_MEMORY_KIB or passes > MOST_HASH_PASSES or lanes > MOST_HASH_LANES:
        raise ValueError(
            f"costs more than m={MOST_HASH_MEMORY_KIB},t={MOST_HASH_PASSES},p={MOST_HASH_LANES}:"
            " make it again by `cxrd web hash-password`"
        )
    if not 1 <= lanes <= memory // 8 or passes < 1:
        raise ValueError("is not a possible argon2id hash: make it by `cxrd web hash-password`")
    return value


def _checked_network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value.strip())
    except ValueError:
        raise ValueError(
            "must be an address or a network, such as 192.0.2.7 or 10.1.0.0/16, without bits after"
            " its prefix"
        ) from None
    if network.prefixlen == 0:
        raise ValueError(f"{network} would trust the identity that any host claims: name the proxy")
    return str(network)


def _checked_header(value: str) -> str:
    if not _HEADER.fullmatch(value) or value.lower() in _OTHER_HEADERS:
        raise ValueError("must be a header of its own, such as X-Forwarded-User")
    return value


Name = Annotated[str, AfterValidator(_checked_name)]
PasswordHash = Annotated[SecretStr, AfterValidator(_checked_password_hash)]
ProxyAddress = Annotated[str, AfterValidator(_checked_network)]
HeaderName = Annotated[str, AfterValidator(_checked_header)]


class TokenConfig(Section):
    """A token of a program or person, with a name and a role."""

    name: Name
    role: WebRole
    token: Token | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if (self.token is None) == (self.token_file is None):
            raise ValueError(f"token {self.name!r} needs either token or token_file")
        return self


class AccountConfig(Section):
    """A person who logs in with name and password."""

    name: Name
    role: WebRole
    password_hash: PasswordHash


class WebConfig(KeyPair):
    """The web role: its address, and the users of its pages."""

    host: ListenHost = "127.0.0.1"
    port: Port = 8080
    allowed_hosts: tuple[str, ...] = ()
    token: Token | None = None
    token_file: Path | None = None
    token_role: WebRole | None = None
    tokens: tuple[TokenConfig, ...] = ()
    accounts: tuple[AccountConfig, ...] = ()
    patient_names: bool = False
    session_hours: float = Field(default=12.0, gt=0, le=168)
    idle_minutes: float = Field(default=60.0, gt=0, le=10_080)
    trusted_proxies: tuple[ProxyAddress, ...] = ()
    proxy_user_header: HeaderName | None = None
    proxy_groups_header: HeaderName | None = None
    proxy_roles: Mapping[str, WebRole] = {}

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("set token or token_file, not both")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [token.name for token in self.tokens]
        names += [account.name for account in self.accounts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tokens or accounts are called {twice[0]!r}; names must differ")
        return self

    @model_validator(mode="after")
    def _proxy_is_complete(self) -> Self:
        if self.proxy_user_header is None:
            for key in ("proxy_groups_header", "proxy_roles"):
                if getattr(self, key):
                    raise ValueError(f"{key} is set, but proxy_user_header is not: set both")
            return self
        if not self.trusted_proxies:
            raise ValueError(
                "proxy_user_header is set, but trusted_proxies names no proxy that may send it"
            )
        if not self.proxy_roles:
            raise ValueError(
                "proxy_user_header is set, but proxy_roles gives no user or group a role"
            )
        for name in self.proxy_roles:
            if not is_printable_name(name.removeprefix(GROUP_MARK)):
                raise ValueError(
                    f"proxy_roles: a user has 1 to {NAME_CHARACTERS} printable characters, and a"
                    f" group has {GROUP_MARK} before them"
                )
            if name.startswith(GROUP_MARK) and self.proxy_groups_header is None:
                raise ValueError(
                    f"proxy_roles: {name!r} is a group, but proxy_groups_header is not set"
                )
        headers = [self.proxy_user_header, self.proxy_groups_header or ""]
        if headers[0].lower() == headers[1].lower():
            raise ValueError("proxy_user_header and proxy_groups_header are the same header")
        return self

    @property
    def url(self) -> str:
        """The page's address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}/"

    @property
    def names(self) -> frozenset[str]:
        """Names that a Host header may contain, besides the loopback names of this machine."""
        listed = {name.lower().strip("[]") for name in self.allowed_hosts}
        try:
            anywhere = ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            anywhere = False
        return frozenset(listed if anywhere else {*listed, self.host.lower()})

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return tuple(ipaddress.ip_network(each) for each in self.trusted_proxies)

    @property
    def token_files(self) -> Iterator[Path]:
        """The files of the named tokens."""
        return (each.token_file for each in self.tokens if each.token_file is not None)

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths and the password of the key read from its file.

        Raises ConfigError.
        """
        tokens = tuple(
            each.model_copy(update={"token_file": below(base, each.token_file)})
            if each.token_file is not None
            else each
            for each in self.tokens
        )
        return super().resolved(base).model_copy(update={"tokens": tokens})
