"""Checks of the other programs: the syslog server and each destination."""

from datetime import UTC, datetime

from daemon.audit.syslog import SyslogConnection
from daemon.config.destinations import classes_for, destination_of, picture_contexts
from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.config.tls import WARN_DAYS, destination_context
from daemon.preflight.result import CheckResult
from dicom_io.commitment.messages import COMMITMENT_CLASS
from dicom_io.peer.tls_probe import probe
from dicom_io.send.sender import echo

_SECONDS = 3.0


def check_syslog(config: SyslogConfig) -> CheckResult:
    """Check that the server can be reached. Raises SyslogError or CertificateError."""
    where = f"{config.host}:{config.port}"
    with SyslogConnection(config, timeout_seconds=_SECONDS) as connection:
        connection.flush()
    if config.transport is SyslogTransport.UDP:
        return CheckResult(
            "syslog", True, f"{where} has an address; UDP does not show whether messages arrive"
        )
    return CheckResult("syslog", True, f"{where} can be reached ({config.transport})")


def check_destination(config: Config, peer: PeerConfig) -> CheckResult:
    """Check a destination by C-ECHO, its presentation contexts and its certificate."""
    preferred = picture_contexts(peer)
    proposed = [*classes_for(peer), *([COMMITMENT_CLASS] if peer.commitment else [])]
    answer = echo(destination_of(config, peer), sop_classes=proposed, also=preferred)
    detail = answer.diagnosis
    for sop_class, syntax in preferred:
        accepted = answer.accepted.get(sop_class, ())
        if accepted and syntax not in accepted:
            detail += f"; not picture_syntax {peer.picture_syntax}: pictures go uncompressed"
    if answer.ok and (left := _days_left(config, peer)) is not None:
        detail += f"; its certificate ends in {left} day(s)"
        if left <= WARN_DAYS:
            return CheckResult(f"peer {peer.name}", False, f"{detail}: have it renewed there")
    return CheckResult(f"peer {peer.name}", answer.ok, detail)


def _days_left(config: Config, peer: PeerConfig) -> int | None:
    """Return the days left of a destination's certificate; None if it shows no certificate."""
    context = destination_context(config, peer)
    if context is None or peer.host is None or peer.port is None:
        return None
    timeout = config.courier.network_timeout_seconds
    certificate = probe(peer.host, peer.port, context, timeout).certificate
    return certificate.days_left(datetime.now(UTC)) if certificate is not None else None
