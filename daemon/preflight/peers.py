"""Checks of the other programs: the syslog server and each destination."""

from datetime import UTC, datetime

from daemon.audit.syslog import SyslogConnection
from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.config.partners.query import RetrieveService
from daemon.config.partners.worklist import WorklistConfig, WorklistKind
from daemon.config.peers import PeerConfig
from daemon.config.routing import Receiver
from daemon.config.settings import Config
from daemon.config.tls import WARN_DAYS, destination_context
from daemon.deliver.channels.opening import channel_to
from daemon.preflight.result import CheckResult
from daemon.retrieve.archives import archive_address, open_query, why_not_searched
from daemon.worklist.managers import remote_manager
from dicom_io.errors import DicomError
from dicom_io.peer.tls_probe import probe
from dicom_io.query.retrieval import Service, offers

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


def check_destination(config: Config, receiver: Receiver) -> CheckResult:
    """Check a receiver of results as its kind allows, and its certificate."""
    found = channel_to(config, receiver).probe()
    named, detail = f"peer {receiver.name}", found.detail
    if found.ok and (left := _days_left(config, receiver)) is not None:
        detail += f"; its certificate ends in {left} day(s)"
        if left <= WARN_DAYS:
            return CheckResult(named, False, f"{detail}: have it renewed there")
    return CheckResult(named, found.ok, detail, warning=found.is_warning)


def check_worklist(config: Config, worklist: WorklistConfig) -> CheckResult:
    """Check that a manager answers and offers its workitems. Raises WorklistError."""
    named = f"worklist {worklist.name}"
    if worklist.kind is WorklistKind.PUSH:
        titles = ", ".join(worklist.requesters)
        return CheckResult(named, True, f"{titles} may create workitems here")
    with remote_manager(config, worklist) as manager:
        return CheckResult(named, True, manager.probe())


def check_archive(config: Config, peer: PeerConfig) -> CheckResult:
    """Check that a peer lets this node query it, and fetch studies as its configuration says."""
    named = f"archive {peer.name}"
    service = peer.query.retrieve if peer.query is not None else None
    try:
        if service is RetrieveService.WEB:
            fault = why_not_searched(open_query(config, peer))
        else:
            kind = None if service is None else Service(service)
            fault = offers(archive_address(config, peer), kind)
    except DicomError as error:
        fault = str(error)
    if fault:
        return CheckResult(named, False, fault)
    if service is RetrieveService.MOVE:
        listener = config.listener
        return CheckResult(
            named,
            True,
            f"it answers queries and offers C-MOVE; it must know this node as {listener.ae_title}"
            f" at port {listener.port} to send films, which cannot be seen from here",
            warning=True,
        )
    offered = {
        None: "it answers queries; nothing is fetched from it",
        RetrieveService.GET: "it answers queries and offers C-GET",
        RetrieveService.WEB: "it answers QIDO-RS",
    }
    return CheckResult(named, True, offered[service])


def _days_left(config: Config, peer: Receiver) -> int | None:
    """Return the days left of a DICOM node's certificate; None if it shows no certificate."""
    if not isinstance(peer, PeerConfig):
        return None
    context = destination_context(config, peer)
    if context is None or peer.host is None or peer.port is None:
        return None
    timeout = config.courier.network_timeout_seconds
    certificate = probe(peer.host, peer.port, context, timeout).certificate
    return certificate.days_left(datetime.now(UTC)) if certificate is not None else None
