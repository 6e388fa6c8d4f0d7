"""Field types of the configuration, and the sections that name secrets or certificates."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from daemon.errors import ConfigError
from dicom_io.peer.tls import ClientCertificate, Credentials
from storage.files.s3.place import PART_BYTES, RETRY_SECONDS, TIMEOUT_SECONDS, S3Place

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


class SpoolConfig(Section):
    """The place of the spool, the way to a bucket, and the least free space of a folder.

    Without `url` it is a folder in `data_dir`. Without `access_key` the client library looks for
    credentials: in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws, in the role of the host.
    """

    url: str | None = None
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    ca: Path | None = None
    path_style: bool | None = None
    allow_http: bool = False
    timeout_seconds: Seconds = TIMEOUT_SECONDS
    retry_seconds: float = Field(default=RETRY_SECONDS, ge=0)
    part_mb: int = Field(default=PART_BYTES // 2**20, ge=5, le=5000)
    min_free_mb: int = Field(default=512, ge=0)

    @model_validator(mode="after")
    def _place_is_complete(self) -> Self:
        if self.secret_key is not None and self.secret_key_file is not None:
            raise ValueError("set secret_key or secret_key_file, not both")
        has_secret = self.secret_key is not None or self.secret_key_file is not None
        if (self.access_key is not None) != has_secret:
            raise ValueError("access_key and its secret_key go together: set both, or neither")
        if self.endpoint is not None:
            _check_endpoint(self.endpoint, allow_http=self.allow_http)
        if isinstance(self.place, S3Place):
            return self
        for key in ("endpoint", "region", "access_key", "ca", "path_style", "allow_http"):
            if getattr(self, key):
                raise ValueError(f"{key} is set, and the spool is a folder: set url to s3://BUCKET")
        return self

    @property
    def place(self) -> Path | S3Place | None:
        """The place that `url` names; None for the folder in `data_dir`."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("url is a place alone: the credentials have keys of their own")
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
            return Path(unquote(parts.path))
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError("url is s3://BUCKET/PREFIX or file:///FOLDER")
        prefix = parts.path.strip("/")
        if not {"", ".", ".."}.isdisjoint(prefix.split("/")) and prefix:
            raise ValueError("url has a prefix with an empty part, a . or a ..: correct it")
        return S3Place(
            bucket=parts.netloc,
            prefix=prefix,
            endpoint=self.endpoint,
            region=self.region,
            access_key=self.access_key,
            secret_key=self.secret_key.get_secret_value() if self.secret_key else None,
            ca=self.ca,
            path_style=self.endpoint is not None if self.path_style is None else self.path_style,
            timeout_seconds=self.timeout_seconds,
            retry_seconds=self.retry_seconds,
            part_bytes=self.part_mb * 2**20,
        )

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths and the secret read from its file.

        Raises ConfigError.
        """
        changes: dict[str, object] = {
            name: below(base, value) for name, value in self if isinstance(value, Path)
        }
        if self.secret_key_file is not None:
            changes["secret_key"] = read_secret(below(base, self.secret_key_file))
        return self.model_copy(update=changes)


def _check_endpoint(endpoint: str, *, allow_http: bool) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise ValueError("endpoint is the URL of the S3 service, as https://HOST:PORT")
    if parts.scheme == "http" and not allow_http:
        raise ValueError(
            "endpoint is not encrypted: use https, or set allow_http to true for a network that"
            " is the node's alone"
        )
