"""The token that the web role asks for: configured, or made once and kept in data_dir."""

import secrets
from pathlib import Path

from pydantic import SecretStr, TypeAdapter, ValidationError

from daemon.config import Config
from daemon.config_access import TOKEN_CHARACTERS, Token, read_secret
from daemon.errors import ConfigError
from storage.durable import durable_file

TOKEN_FILE = "web_token"  # noqa: S105 - a file's name


def token_path(config: Config) -> Path | None:
    """The file that holds the token; None where the configuration says it itself."""
    if config.web.token is not None:
        return None
    return config.web.token_file or config.data_dir / TOKEN_FILE


def token_of(config: Config) -> SecretStr:
    """The token. At the first start one is made, in a file that its owner alone may read.

    Raises ConfigError for one that could be guessed or cannot be read, SpoolError for a disk
    that cannot keep it.
    """
    if config.web.token is not None:
        return config.web.token
    path = config.web.token_file or config.data_dir / TOKEN_FILE
    if config.web.token_file is None and not path.exists():
        with durable_file(path, path.parent) as file:
            file.write(f"{secrets.token_urlsafe(32)}\n".encode())
    token = read_secret(path)
    try:
        return TypeAdapter(Token).validate_python(token)
    except ValidationError:
        raise ConfigError(
            f"{path}: a token has at least {TOKEN_CHARACTERS} printable ASCII characters and no"
            " space"
        ) from None
