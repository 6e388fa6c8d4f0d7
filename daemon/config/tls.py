"""The TLS contexts that the configuration asks for, and how long its certificates last."""

import logging
import ssl
from datetime import UTC, datetime

from daemon.config.settings import Config, PeerConfig
from dicom_io.errors import CertificateDateError
from dicom_io.peer.tls import (
    Certificate,
    ClientCertificate,
    client_context,
    examine,
    server_context,
)

log = logging.getLogger("tls")

WARN_DAYS = 30
"""A certificate with fewer days left is warned of."""


def listener_context(config: Config) -> ssl.SSLContext | None:
    """What the listener's TLS port encrypts with; None without one. Raises CertificateError."""
    credentials = config.tls.credentials
    if not config.listener.tls or credentials is None:
        return None
    examine(credentials, as_client=False)
    return server_context(
        credentials, ca=config.tls.ca, client_certificate=config.tls.client_certificate
    )


def listener_addresses(config: Config) -> list[tuple[int, ssl.SSLContext | None]]:
    """The ports to listen on, and what each encrypts with.

    With a certificate that is not valid now the TLS port stays closed, the plain one beside it
    does not. Raises CertificateDateError where there is none, CertificateError for one that is
    unusable on any day.
    """
    addresses = config.listener.addresses
    try:
        context = listener_context(config)
    except CertificateDateError as error:
        plain: list[tuple[int, ssl.SSLContext | None]] = [
            (port, None) for port, encrypted in addresses if not encrypted
        ]
        if not plain:
            raise
        log.error("%s; until the next start the listener has no TLS port", error)
        return plain
    return [(port, context if encrypted else None) for port, encrypted in addresses]


def destination_context(config: Config, peer: PeerConfig) -> ssl.SSLContext | None:
    """What a peer is sent to with; None where it is plain. Raises CertificateError."""
    return client_context(config.tls.ca, config.tls.credentials) if peer.tls else None


def web_context(config: Config) -> ssl.SSLContext | None:
    """What the web role encrypts with; None without a certificate. Raises CertificateError."""
    credentials = config.web.credentials
    if credentials is None:
        return None
    examine(credentials, as_client=False)
    return server_context(credentials, client_certificate=ClientCertificate.NONE)


def own_certificates(config: Config) -> dict[str, Certificate]:
    """The certificates that this node shows, by the section that names them.

    Raises CertificateError where one cannot be used for what it is configured for, on any day.
    """
    found = {}
    if config.tls.credentials is not None:
        calls = any(peer.tls and peer.has_address for peer in config.peers)
        found["tls"] = examine(config.tls.credentials, as_client=calls, at_any_time=True)
    if config.web.credentials is not None:
        found["web"] = examine(config.web.credentials, as_client=False, at_any_time=True)
    if config.syslog.credentials is not None:
        found["syslog"] = examine(config.syslog.credentials, as_server=False, at_any_time=True)
    return found


def remaining(certificate: Certificate, now: datetime) -> str:
    """What is to be said of how long a certificate lasts, after its name, and what to do."""
    left = f"ends in {certificate.days_left(now)} day(s)"
    if is_short_lived(certificate, now):
        left += ": renew it"
    return certificate.date_problem(now) or left


def is_short_lived(certificate: Certificate, now: datetime) -> bool:
    """Whether somebody has to see to a certificate: not valid now, or not for long."""
    return certificate.date_problem(now) is not None or certificate.days_left(now) <= WARN_DAYS


def ending_soon(config: Config) -> list[str]:
    """A line for each certificate of this node that is not valid, or ends within WARN_DAYS."""
    now = datetime.now(UTC)
    return [
        f"{section}.certificate {remaining(certificate, now)}"
        for section, certificate in own_certificates(config).items()
        if is_short_lived(certificate, now)
    ]
