"""Makes the configured TLS contexts, and checks the dates of the node's certificates."""

import logging
import ssl
from datetime import UTC, datetime

from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.worklist import WorklistConfig
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from dicom_io.errors import CertificateDateError
from dicom_io.peer.tls import (
    Certificate,
    ClientCertificate,
    Credentials,
    client_context,
    examine,
    server_context,
)

log = logging.getLogger("tls")

OWN_SECTIONS = ("tls", "web", "syslog")
"""The sections of the configuration that can name a certificate of this node."""
WARN_DAYS = 30
"""Remaining days at which a certificate causes a warning."""


def listener_context(config: Config) -> ssl.SSLContext | None:
    """Return the context of the listener's TLS port; None without one. Raises CertificateError."""
    credentials = config.tls.credentials
    if not config.listener.tls or credentials is None:
        return None
    examine(credentials, as_client=False)
    return server_context(
        credentials, ca=config.tls.ca, client_certificate=config.tls.client_certificate
    )


def listener_addresses(config: Config) -> list[tuple[int, ssl.SSLContext | None]]:
    """Return the ports to listen on, each with its TLS context or None.

    A certificate that is not valid today closes the TLS port; a plain port stays open.
    Raises CertificateDateError if no port is left, CertificateError for a certificate that is
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
        log.error("%s; TLS port disabled until restart", error)
        return plain
    return [(port, context if encrypted else None) for port, encrypted in addresses]


def destination_context(config: Config, peer: PeerConfig) -> ssl.SSLContext | None:
    """Return the context for connections to a peer; None without TLS. Raises CertificateError."""
    return client_context(config.tls.ca, config.tls.credentials) if peer.tls else None


def partner_context(partner: DestinationConfig | WorklistConfig) -> ssl.SSLContext:
    """Return the context for connections to a partner that is no DICOM node.

    It trusts the CAs of `ca`, else those of the system, and shows `certificate` where one is named.
    Raises CertificateError.
    """
    return client_context(partner.ca, partner.credentials)


def hl7_context(config: Config) -> ssl.SSLContext | None:
    """Return the context of the MLLP server; None without TLS. Raises CertificateError.

    It asks for a client certificate as the listener does.
    """
    credentials = config.tls.credentials
    if not config.hl7.tls or credentials is None:
        return None
    examine(credentials, as_client=False)
    return server_context(
        credentials, ca=config.tls.ca, client_certificate=config.tls.client_certificate
    )


def web_context(config: Config) -> ssl.SSLContext | None:
    """Return the context of the web role; None without a certificate. Raises CertificateError."""
    credentials = config.web.credentials
    if credentials is None:
        return None
    examine(credentials, as_client=False)
    ca = config.dicomweb.ca
    # Optional: browsers and the clients with a token show none.
    shown = ClientCertificate.NONE if ca is None else ClientCertificate.OPTIONAL
    return server_context(credentials, ca=ca, client_certificate=shown)


def own_credentials(config: Config, section: str) -> Credentials | None:
    """Return the certificate and key that a section names; None if it names none."""
    return {"tls": config.tls, "web": config.web, "syslog": config.syslog}[section].credentials


def own_certificate(config: Config, section: str) -> Certificate | None:
    """Return this node's certificate of one of OWN_SECTIONS; None if the section names none.

    Raises CertificateError for a certificate that is unusable for its purpose on any day.
    """
    credentials = own_credentials(config, section)
    if credentials is None:
        return None
    calls = section == "tls" and any(peer.tls and peer.has_address for peer in config.peers)
    return examine(
        credentials,
        as_client=calls or section == "syslog",
        as_server=section != "syslog",
        at_any_time=True,
    )


def own_certificates(config: Config) -> dict[str, Certificate]:
    """Return this node's certificates, by the section that names them.

    Raises CertificateError for a certificate that is unusable for its purpose on any day.
    """
    found = {section: own_certificate(config, section) for section in OWN_SECTIONS}
    return {section: one for section, one in found.items() if one is not None}


def remaining(certificate: Certificate, now: datetime) -> str:
    """Return how long a certificate lasts and what to do, to follow its name in a sentence."""
    left = f"ends in {certificate.days_left(now)} day(s)"
    if is_short_lived(certificate, now):
        left += ": renew it"
    return certificate.date_problem(now) or left


def is_short_lived(certificate: Certificate, now: datetime) -> bool:
    """Return True if a certificate is not valid now, or ends within WARN_DAYS."""
    return certificate.date_problem(now) is not None or certificate.days_left(now) <= WARN_DAYS


def ending_soon(config: Config) -> list[str]:
    """Return a line for each of this node's certificates that is short-lived."""
    now = datetime.now(UTC)
    return [
        f"{section}.certificate {remaining(certificate, now)}"
        for section, certificate in own_certificates(config).items()
        if is_short_lived(certificate, now)
    ]
