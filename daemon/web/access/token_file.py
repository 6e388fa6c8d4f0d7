"""The tokens: `web.token`, or a file that the first start makes, and the named tokens."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr, TypeAdapter, ValidationError

from daemon.config.fields import TOKEN_CHARACTERS, Token, read_secret
from daemon.config.settings import Config
from daemon.config.web import MAIN_TOKEN, WebConfig
from daemon.errors import ConfigError
from daemon.web.access.roles import Role
from storage.files.durable import durable_file


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token with the name of its user, as the audit trail has it, and a role."""

    name: str
    role: Role
    token: SecretStr


def load_tokens(config: Config, *, is_new_node: bool) -> tuple[KnownToken, ...]:
    """Return the tokens, the main token first.

    The first start creates the main token, in a file that only its owner can read.

    Raises ConfigError for a token that is unreadable, too short or given twice, SpoolError if the
    disk cannot store a new token.
    """
    main = read_token(config)
    if main is None:
        path = config.token_path
        main = SecretStr(secrets.token_urlsafe(32))
        with durable_file(path, path.parent) as file:
            file.write(f"{main.get_secret_value()}\n".encode())
    own = KnownToken(MAIN_TOKEN, main_role(config.web, is_new_node=is_new_node), main)
    tokens = (own, *_named_tokens(config))
    _require_different(tokens)
    return tokens


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
    own = () if main is None else (KnownToken(MAIN_TOKEN, Role.STATUS, main),)
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
    return _from_file(path)


def _named_tokens(config: Config) -> tuple[KnownToken, ...]:
    named = []
    for each in config.web.tokens:
        token = each.token
        if each.token_file is not None:
            token = _from_file(each.token_file)
        if token is not None:
            named.append(KnownToken(each.name, Role.of(each.role), token))
    return tuple(named)


def _from_file(path: Path) -> SecretStr:
    token = read_secret(path)
    try:
        return TypeAdapter(Token).validate_python(token)
    except ValidationError:
        raise ConfigError(
            f"{path}: a token has at least {TOKEN_CHARACTERS} printable ASCII characters and no"
            " space"
        ) from None


def _require_different(tokens: tuple[KnownToken, ...]) -> None:
    owners: dict[str, str] = {}
    for each in tokens:
        other = owners.setdefault(each.token.get_secret_value(), each.name)
        if other != each.name:
            raise ConfigError(
                f"web.tokens: {other!r} and {each.name!r} have the same token, so neither the role"
                " nor the user of a request is known: make another for one of them"
            )
