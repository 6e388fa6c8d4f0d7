"""The tokens: `web.token`, or a file that the first start makes, and the named tokens."""

import contextlib
import logging
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import SecretStr, TypeAdapter, ValidationError

from daemon.config.fields import TOKEN_CHARACTERS, Token, read_secret
from daemon.config.sections.web import MAIN_TOKEN, WebConfig
from daemon.config.settings import Config
from daemon.errors import ConfigError
from daemon.web.access.roles import Role
from daemon.web.access.sessions import digest_of
from storage.audit.records import AuditEntry, AuditKind
from storage.errors import OutOfSpaceError
from storage.files.durable import durable_file, storage_errors
from storage.hosts.web_tokens import WebTokens

log = logging.getLogger("web")


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token by its SHA-256, with the name of its user, as the audit trail has it, and a role.

    `is_shared`: the store has it for all hosts.
    """

    name: str
    role: Role
    digest: bytes
    is_shared: bool = False

    @classmethod
    def of(cls, name: str, role: Role, token: SecretStr) -> Self:
        """Return the token of a text."""
        return cls(name, role, digest_of(token.get_secret_value()))


def load_tokens(
    config: Config, store: WebTokens, worker: str, *, is_new_node: bool
) -> tuple[KnownToken, ...]:
    """Return the tokens, the main token first.

    The first start on a store makes the main token, in a file that only its owner can read, and
    the store keeps its digest. A host without that file takes the digest. A file that was changed
    after the record is that of a new token; an older one is not taken, since it may be left over.

    Raises ConfigError for a token that is unreadable, too short or given twice, SpoolError if the
    disk cannot store a new token, or another StorageError.
    """
    role = main_role(config.web, is_new_node=is_new_node)
    main = read_token(config)
    is_shared = config.web.token is None and config.web.token_file is None
    if main is not None and not is_shared:
        own = KnownToken.of(MAIN_TOKEN, role, main)
    else:
        digest = _shared_digest(config.token_path, main, store, worker)
        own = KnownToken(MAIN_TOKEN, role, bytes.fromhex(digest), is_shared=True)
    tokens = (own, *_named_tokens(config))
    _require_different(tokens)
    return tokens


def _shared_digest(path: Path, token: SecretStr | None, store: WebTokens, worker: str) -> str:
    """Return the digest of the main token; record it if it is new."""
    recorded = store.find(MAIN_TOKEN)
    if token is None:
        return _made(path, store) if recorded is None else recorded.digest
    digest = digest_of(token.get_secret_value()).hex()
    if recorded is None:
        # On a full disk the pages work, and a later start records it.
        with contextlib.suppress(OutOfSpaceError):
            recorded = store.adopt(MAIN_TOKEN, digest)
    if recorded is None or recorded.digest == digest:
        return digest
    with storage_errors(path):
        changed_at = path.stat().st_mtime
    if changed_at <= recorded.created_at.timestamp():
        log.warning(
            "%s is not the token of this store, and is older: it is not accepted; remove it, or"
            " `touch` it and start again to make it the token of all hosts",
            path,
        )
        return recorded.digest
    detail = f"the token in {path} is that of all hosts now"
    store.replace(
        MAIN_TOKEN, digest, AuditEntry(AuditKind.TOKEN_CHANGED, actor=worker, detail=detail)
    )
    return digest


def _made(path: Path, store: WebTokens) -> str:
    """Make a token in a file, unless another host records its own first; return the digest."""
    token = secrets.token_urlsafe(32)
    with durable_file(path, path.parent) as file:
        file.write(f"{token}\n".encode())
    own = digest_of(token).hex()
    recorded = store.adopt(MAIN_TOKEN, own)
    if recorded.digest != own:
        with storage_errors(path):
            path.unlink()
    return recorded.digest


def main_role(web: WebConfig, *, is_new_node: bool) -> Role:
    """Return the role of the main token.

    Unless `web.token_role` is set, a node whose store is from before there were roles gives its
    token the reach that it had: no upgrade opens patient data.
    """
    if web.token_role is not None:
        return Role.of(web.token_role)
    return Role.ADMIN if is_new_node else Role.STATUS


def reach_of(token: KnownToken) -> str:
    """Return a line for the log on the reach of the main token."""
    if token.role is Role.STATUS:
        return (
            "the token shows / without patients, and /metrics, as before the upgrade: set"
            " web.token_role to viewer, operator or admin to open the other pages to its holders"
        )
    return f"the token has the role {token.role}"


def check_tokens(config: Config) -> None:
    """Raise ConfigError for a token that is unreadable, too short or given twice."""
    main = read_token(config)
    own = () if main is None else (KnownToken.of(MAIN_TOKEN, Role.STATUS, main),)
    _require_different((*own, *_named_tokens(config)))


def read_token(config: Config) -> SecretStr | None:
    """Return the main token; None if the first start is to create it.

    Raises ConfigError for a token that is unreadable or too short.
    """
    if config.web.token is not None:
        return config.web.token
    path = config.token_path
    if config.web.token_file is None and not path.exists():
        return None
    return token_from_file(path)


def _named_tokens(config: Config) -> tuple[KnownToken, ...]:
    named = []
    for each in config.web.tokens:
        token = each.token
        if each.token_file is not None:
            token = token_from_file(each.token_file)
        if token is not None:
            named.append(KnownToken.of(each.name, Role.of(each.role), token))
    return tuple(named)


def token_from_file(path: Path) -> SecretStr:
    """Return the token in a file. Raises ConfigError."""
    token = read_secret(path)
    try:
        return TypeAdapter(Token).validate_python(token)
    except ValidationError:
        raise ConfigError(
            f"{path}: a token has at least {TOKEN_CHARACTERS} printable ASCII characters and no"
            " space"
        ) from None


def _require_different(tokens: tuple[KnownToken, ...]) -> None:
    owners: dict[bytes, str] = {}
    for each in tokens:
        other = owners.setdefault(each.digest, each.name)
        if other != each.name:
            raise ConfigError(
                f"web.tokens: {other!r} and {each.name!r} have the same token, so neither the role"
                " nor the user of a request is known: make another for one of them"
            )
