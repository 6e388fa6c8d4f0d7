"""The token of the web page: from the configuration, or from a file that the first start makes."""

import secrets

from pydantic import SecretStr, TypeAdapter, ValidationError

from daemon.config.fields import TOKEN_CHARACTERS, Token, read_secret
from daemon.config.settings import Config
from daemon.errors import ConfigError
from storage.files.durable import durable_file


def load_token(config: Config) -> SecretStr:
    """Return the token. The first start creates it, in a file that only its owner can read.

    Raises ConfigError for a token that is unreadable or too short, SpoolError if the disk cannot
    store a new one.
    """
    token = read_token(config)
    if token is None:
        path = config.token_path
        token = SecretStr(secrets.token_urlsafe(32))
        with durable_file(path, path.parent) as file:
            file.write(f"{token.get_secret_value()}\n".encode())
    return token


def read_token(config: Config) -> SecretStr | None:
    """Return the token; None if the first start is to create it.

    Raises ConfigError for a token that is unreadable or too short.
    """
    if config.web.token is not None:
        return config.web.token
    path = config.token_path
    if config.web.token_file is None and not path.exists():
        return None
    token = read_secret(path)
    try:
        return TypeAdapter(Token).validate_python(token)
    except ValidationError:
        raise ConfigError(
            f"{path}: a token has at least {TOKEN_CHARACTERS} printable ASCII characters and no"
            " space"
        ) from None
