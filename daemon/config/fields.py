"""Field types of the configuration, and the sections that name secrets or certificates."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from daemon.errors import ConfigError
from dicom_io.peer.tls import ClientCertificate, Credentials

TOKEN_CHARACTERS = 20
"""Least length of a token; a shorter token could be guessed."""


SOURCE_CHARACTERS = 64
"""Most characters of a source's name."""

RESERVED_SOURCES = frozenset({"own", "all"})
"""Values of `results_of`, so no source has one of these names."""


def _checked_ae_title(value: str) -> str:
    title = value.strip()
    if not 1 <= len(title) <= 16:
        raise ValueError("an AE title has 1 to 16 characters (PS3.5 6.2, VR AE)")
    if "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has no backslash, control or non-ASCII character")
    return title


def _checked_listen_host(value: str) -> str:
    if not value.strip():
        raise ValueError(
            "is empty: 127.0.0.1 is for this machine alone, 0.0.0.0 for all its addresses"
        )
    return _checked_host(value)


def _checked_host(value: str) -> str:
    host = value.strip()
    if "/" in host or " " in host or re.fullmatch(r"[^:]*:\d+", host):
        raise ValueError("must be a name or an address alone: the port has its own key, port")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("is no name or address: a part of it is empty or too long") from None
    return host


def _checked_fingerprint(value: str) -> str:
    digits = value.strip().replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(
            "a certificate's SHA-256 has 64 hexadecimal digits, as"
            " `openssl x509 -noout -fingerprint -sha256 -in FILE` prints it"
        )
    return digits


def _checked_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(rf"[!-~]{{{TOKEN_CHARACTERS},}}", value.get_secret_value()):
        raise ValueError(
            f"a token has at least {TOKEN_CHARACTERS} printable ASCII characters and no space"
        )
    return value


def checked_source(value: str) -> str:
    """Return the name of a source without spaces around it. Raises ValueError."""
    name = value.strip()
    if not 1 <= len(name) <= SOURCE_CHARACTERS or not name.isprintable() or "@" in name:
        raise ValueError(
            f"a source has 1 to {SOURCE_CHARACTERS} printable characters, and no @ among them"
        )
    if name in RESERVED_SOURCES:
        raise ValueError(f"{name!r} means something else in results_of: name the source otherwise")
    return name


AETitle = Annotated[str, AfterValidator(_checked_ae_title)]
ListenHost = Annotated[str, AfterValidator(_checked_listen_host)]
Host = Annotated[str, AfterValidator(_checked_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]

Fingerprint = Annotated[str, AfterValidator(_checked_fingerprint)]
Token = Annotated[SecretStr, AfterValidator(_checked_token)]
SourceName = Annotated[str, AfterValidator(checked_source)]


def read_secret(path: Path) -> SecretStr:
    """Return the one line of a file, without its line end. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: the secret in it cannot be read ({reason})") from None
    if not text or "\n" in text:
        raise ConfigError(f"{path}: must hold one line, the secret")
    return SecretStr(text)


def below(base: Path, path: Path) -> Path:
    """Return the path, which may be relative to folder `base` or start with `~`."""
    return base / path.expanduser()


class Section(BaseModel):
    """A part of the configuration: frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class KeyPair(Section):
    """A certificate and its private key, as PEM files, and the password of an encrypted key."""

    certificate: Path | None = None
    key: Path | None = None
    key_password: SecretStr | None = None
    key_password_file: Path | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: set both, or neither")
        if self.key_password is not None and self.key_password_file is not None:
            raise ValueError("set key_password or key_password_file, not both")
        return self

    @property
    def credentials(self) -> Credentials | None:
        """The credentials for TLS; None without a certificate."""
        if self.certificate is None or self.key is None:
            return None
        password = self.key_password
        return Credentials(
            self.certificate, self.key, password.get_secret_value() if password else None
        )

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths and the password read from its file.

        Raises ConfigError.
        """
        changes: dict[str, object] = {
            name: below(base, value) for name, value in self if isinstance(value, Path)
        }
        if self.key_password_file is not None:
            changes["key_password"] = read_secret(below(base, self.key_password_file))
        return self.model_copy(update=changes)


class TlsConfig(KeyPair):
    """DICOM TLS: the node's own certificate, for both directions, and the CA that it trusts."""

    ca: Path | None = None
    client_certificate: ClientCertificate = ClientCertificate.REQUIRED


class SyslogTransport(StrEnum):
    """Transport of audit messages."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class SyslogConfig(KeyPair):
    """The syslog server that receives the audit trail (docs/audit.md); no host: no server."""

    host: Host | None = None
    port: Port = 6514
    transport: SyslogTransport = SyslogTransport.TLS
    ca: Path | None = None
    patient_ids: bool = False

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        for key in ("ca", "certificate", "key_password", "key_password_file"):
            if self.transport is not SyslogTransport.TLS and getattr(self, key) is not None:
                raise ValueError(
                    f"{key} is set, but transport is {self.transport}, which has no TLS:"
                    " set transport to tls"
                )
        return self

    @property
    def credentials(self) -> Credentials | None:
        """The credentials for TLS; None without a host or a certificate."""
        return super().credentials if self.host is not None else None

    @property
    def shows_patients(self) -> bool:
        """True if Patient IDs cross the network unencrypted."""
        return (
            self.host is not None and self.patient_ids and self.transport is not SyslogTransport.TLS
        )
