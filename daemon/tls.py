"""The TLS contexts that the configuration asks for, and how long its certificates last."""

import ssl
from datetime import UTC, datetime

from daemon.config import Config, PeerConfig
from dicom_io.tls import Certificate, ClientCertificate, client_context, examine, server_context

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

    Raises CertificateError where one cannot be used for what it is configured for.
    """
    found = {}
    if config.tls.credentials is not None:
        calls = any(peer.tls and peer.has_address for peer in config.peers)
        found["tls"] = examine(config.tls.credentials, as_client=calls)
    if config.web.credentials is not None:
        found["web"] = examine(config.web.credentials, as_client=False)
    return found


def ending_soon(config: Config) -> list[str]:
    """A line for each certificate of this node that ends within WARN_DAYS."""
    now = datetime.now(UTC)
    return [
        f"{section}.certificate ends in {certificate.days_left(now)} day(s): renew it"
        for section, certificate in own_certificates(config).items()
        if certificate.days_left(now) <= WARN_DAYS
    ]
