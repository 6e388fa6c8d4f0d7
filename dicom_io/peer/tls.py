"""TLS by the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12).

The profile requires TLS 1.2 or 1.3. TLS 1.2 uses only cipher suites with ephemeral elliptic curves
and AES-GCM (RFC 9325 4.2). Keys have at least 2048 bits (RSA) or 256 bits (ECDSA). Compression and
renegotiation are off. Either side may show a certificate.
"""

import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from dicom_io.errors import CertificateDateError, CertificateError

CIPHER_SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""Cipher suites of TLS 1.2, best first, by OpenSSL's names. TLS 1.3 uses OpenSSL's defaults."""

# OpenSSL's level 2 requires 112 bits of strength: RSA keys of 2048 bits, no SHA-1 signatures.
_SECURITY_LEVEL = "@SECLEVEL=2"

# X509_V_FLAG_NO_CHECK_TIME, for which the ssl module has no constant.
_NO_CHECK_TIME = 0x200000
_KEY_SIZES = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL"})
_WRONG_PURPOSE = 26  # X509_V_ERR_INVALID_PURPOSE


class ClientCertificate(StrEnum):
    """Requirement for clients to show a certificate signed by one of the CAs."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its chain, and its private key, both PEM files."""

    certificate: Path
    key: Path
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Fingerprint (`sha256`, 64 hexadecimal digits), validity and names of a certificate."""

    sha256: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]

    def days_left(self, now: datetime) -> int:
        """Return the whole days until the certificate expires, negative after that."""
        return (self.not_after - now).days

    def date_problem(self, now: datetime) -> str | None:
        """Return the reason why the certificate is not valid at `now` and its remedy, or None."""
        if now > self.not_after:
            return f"expired on {self.not_after:%Y-%m-%d}; renew it"
        if now < self.not_before:
            return (
                f"is valid from {self.not_before:%Y-%m-%d %H:%M} UTC only;"
                " check this machine's clock"
            )
        return None


def server_context(
    credentials: Credentials,
    *,
    ca: Path | None = None,
    client_certificate: ClientCertificate = ClientCertificate.NONE,
) -> ssl.SSLContext:
    """Return the context of a server; `ca` is the file of CAs that sign client certificates.

    Raises CertificateError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _apply_profile(context)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _load(context, credentials)
    if client_certificate is not ClientCertificate.NONE:
        if ca is None:
            raise CertificateError("client certificates are asked for, but no CA is named")
        _trust(context, ca)
        required = client_certificate is ClientCertificate.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(
    ca: Path | None = None, credentials: Credentials | None = None, *, check_name: bool = True
) -> ssl.SSLContext:
    """Return the context of a client, which verifies the server by `ca` or the system's CAs.

    With `check_name` the certificate must also be for the server's host. Raises CertificateError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _apply_profile(context)
    context.check_hostname = check_name
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _trust(context, ca)
    if credentials is not None:
        _load(context, credentials)
    return context


def examine(
    credentials: Credentials,
    *,
    as_server: bool = True,
    as_client: bool = True,
    at_any_time: bool = False,
) -> Certificate:
    """Return the certificate of the credentials after a handshake in memory with it.

    The handshake checks the purposes of the certificate: `as_server` that of a server, `as_client`
    that of a client. Raises CertificateError, and CertificateDateError for a certificate that is
    not valid now, unless `at_any_time`.
    """
    server, client = (
        ssl.SSLContext(protocol) for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    client.check_hostname = False
    for context in (server, client):
        _apply_profile(context)
        _load(context, credentials)
        _trust(context, credentials.certificate)
        context.verify_flags |= _NO_CHECK_TIME
    if not as_server:
        client.verify_mode = ssl.CERT_NONE
    if as_client:
        server.verify_mode = ssl.CERT_REQUIRED
    certificate = _handshake_in_memory(server, client, credentials)
    problem = certificate.date_problem(datetime.now(UTC))
    if problem is not None and not at_any_time:
        raise CertificateDateError(f"{credentials.certificate} {problem}")
    return certificate


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 of a certificate, like `openssl x509 -fingerprint` without colons."""
    return hashlib.sha256(der).hexdigest()


def peer_certificate(connection: ssl.SSLSocket | ssl.SSLObject) -> Certificate | None:
    """Return the verified certificate of the other side, or None if it showed none."""
    der, parsed = connection.getpeercert(binary_form=True), connection.getpeercert()
    if der is None or not parsed:
        return None
    return Certificate(
        sha256=fingerprint(der),
        not_before=_parsed_time(str(parsed["notBefore"])),
        not_after=_parsed_time(str(parsed["notAfter"])),
        names=tuple(str(value) for _, value in _pairs(parsed.get("subjectAltName", ()))),
    )


def _apply_profile(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join((*CIPHER_SUITES, _SECURITY_LEVEL)))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # `ca` may hold a peer's certificate instead of the CA that signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    _check_pem(credentials.certificate, "certificate", "BEGIN CERTIFICATE")
    _check_pem(credentials.key, "key", "PRIVATE KEY")
    is_encrypted = False

    def password() -> str:
        nonlocal is_encrypted
        is_encrypted = True
        return credentials.password or ""

    try:
        context.load_cert_chain(credentials.certificate, credentials.key, password)
    except ssl.SSLError as error:
        raise CertificateError(_load_problem(credentials, is_encrypted, error.reason)) from None


def _load_problem(credentials: Credentials, is_encrypted: bool, reason: str | None) -> str:
    certificate, key = credentials.certificate, credentials.key
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key} is not the key of {certificate}; name the two that belong together"
    if reason in _KEY_SIZES:
        return f"{certificate} has a key that is too short; RSA needs 2048 bits, ECDSA 256"
    if is_encrypted and credentials.password is None:
        return f"{key} is encrypted; set its password (key_password_file)"
    if is_encrypted:
        return f"the password of {key} is not right"
    return f"{certificate} and {key} cannot be used ({reason or 'not PEM'})"


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    _check_pem(ca, "CA", "BEGIN CERTIFICATE")
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError as error:
        raise CertificateError(
            f"{ca} holds no CA certificate that can be read ({error.reason or 'not PEM'})"
        ) from None


def _check_pem(path: Path, kind: str, marker: str) -> None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CertificateError(
            f"{path}: the {kind} file cannot be read ({error.strerror}); check name and permissions"
        ) from None
    if marker not in text:
        raise CertificateError(f"{path} holds no {kind} in PEM form ({marker} is missing)")


def _handshake_in_memory(
    server: ssl.SSLContext, client: ssl.SSLContext, credentials: Credentials
) -> Certificate:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = client.wrap_bio(to_client, to_server)
    called = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [calling, called]
    try:
        while waiting:
            for side in tuple(waiting):
                try:
                    side.do_handshake()
                    waiting.remove(side)
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _WRONG_PURPOSE:
            role = "a client" if side is called else "a server"
            raise CertificateError(
                f"{credentials.certificate} may not be used as {role}: its extendedKeyUsage"
                " lacks that; issue it with serverAuth and clientAuth"
            ) from None
        raise CertificateError(
            f"{credentials.certificate} cannot be used ({error.verify_message})"
        ) from None
    except ssl.SSLError as error:
        raise CertificateError(
            f"{credentials.certificate} cannot be used ({error.reason})"
        ) from None
    certificate = peer_certificate(calling) or peer_certificate(called)
    if certificate is None:
        raise CertificateError(f"{credentials.certificate} was not shown in a handshake")
    return certificate


def _parsed_time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _pairs(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, tuple):
        return []
    return [(str(pair[0]), str(pair[1])) for pair in value if isinstance(pair, tuple)]
