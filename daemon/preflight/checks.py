"""`cxrd check`: finds faults of the setup before the first image is sent.

Each check gives one line, which names the remedy. A failed check does not stop the next.
"""

import errno
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from daemon.analyse.pipeline import Pipeline
from daemon.audit.syslog import SyslogConnection
from daemon.config.destinations import classes_for, destination_of, picture_contexts
from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.config.peers import PeerConfig
from daemon.config.permissions import readable_by_others
from daemon.config.settings import Config
from daemon.config.tls import (
    WARN_DAYS,
    destination_context,
    is_short_lived,
    own_certificates,
    remaining,
)
from daemon.errors import ROOM_ERRORS
from daemon.preflight.result import CheckResult
from daemon.preflight.routes import check_routes
from dicom_io.commitment.messages import COMMITMENT_CLASS
from dicom_io.peer.listening import listen_problem
from dicom_io.peer.peers import Caller
from dicom_io.peer.tls import client_context
from dicom_io.peer.tls_probe import probe
from dicom_io.send.association import Destination, Timeouts
from dicom_io.send.sender import echo
from storage.files.durable import durable_file, make_folder, storage_errors
from storage.store import Store
from storage.upkeep.integrity import check_store

MAP_TOLERANCE = 1e-3
"""Greatest difference of mean(map) + bias and the logit that rounding alone can cause."""
_SECONDS = 3.0


def run_checks(config: Config) -> Iterator[CheckResult]:
    """Run all checks, in the order in which an image passes the parts that they check."""
    yield _guarded("disk", lambda: _check_disk(config))
    yield _guarded("permissions", lambda: _check_permissions(config))
    yield _guarded("store", lambda: _check_store(config))
    yield _guarded("model", lambda: _check_model(config))
    if any(section.credentials for section in (config.tls, config.web, config.syslog)):
        yield _guarded("certificates", lambda: check_certificates(config))
    for port, encrypted in config.listener.addresses:
        yield _guarded("listener", partial(_check_listener, config, port, encrypted))
    if config.syslog.host is not None:
        yield _guarded("syslog", lambda: _check_syslog(config.syslog))
    if config.syslog.shows_patients:
        yield CheckResult(
            "syslog",
            False,
            f"patient_ids is true, and {config.syslog.transport} sends them in clear:"
            " set transport to tls, or patient_ids to false",
        )
    yield from check_routes(config)
    for peer in config.destinations:
        yield _guarded(f"peer {peer.name}", partial(_check_destination, config, peer))


def _guarded(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except ROOM_ERRORS as error:
        return CheckResult(name, False, str(error))


def _check_disk(config: Config) -> CheckResult:
    make_folder(config.data_dir)
    with storage_errors(config.data_dir):
        folder = config.spool_dir if config.spool_dir.exists() else config.data_dir
        written = folder / "preflight"
        with durable_file(written, folder) as file:
            file.write(b"cxrd")
        written.unlink()
        free_mb = shutil.disk_usage(folder).free // 2**20
    detail = f"{folder} is writable, {free_mb} MB free"
    if free_mb < config.spool.min_free_mb:
        detail += f"; below spool.min_free_mb ({config.spool.min_free_mb}) images are refused"
        return CheckResult("disk", False, detail)
    return CheckResult("disk", True, detail)


def _check_permissions(config: Config) -> CheckResult:
    problems = readable_by_others(config)
    detail = "; ".join(problems) or "files and secrets are closed to other users"
    return CheckResult("permissions", not problems, detail)


def _check_store(config: Config) -> CheckResult:
    check_store(config.resolved_database_url, config.spool_dir)
    with Store.open(config.resolved_database_url, migrate=True) as store:
        store.integrity.require_spool(config.spool_dir)
        jobs = sum(store.status.job_counts().values())
    return CheckResult("store", True, f"opens, {jobs} job(s) in it")


def _check_model(config: Config) -> CheckResult:
    pipeline = Pipeline.open(config.model)
    model = pipeline.algorithm
    error = pipeline.self_test()
    detail = f"{model.name} {model.version}, sha256 {model.sha256[:12]}…"
    if error > MAP_TOLERANCE:
        return CheckResult(
            "model", False, f"{detail}: its maps differ from its logits by {error:.2g}"
        )
    return CheckResult("model", True, f"{detail}, maps add up to the logits")


def check_certificates(config: Config) -> CheckResult:
    """Check that this node's own certificates are usable and not short-lived.

    Raises CertificateError for an unusable certificate.
    """
    now = datetime.now(UTC)
    own = own_certificates(config)
    detail = ", ".join(
        f"{section}.certificate {remaining(certificate, now)}"
        for section, certificate in own.items()
    )
    passed = not any(is_short_lived(certificate, now) for certificate in own.values())
    return CheckResult("certificates", passed, detail)


def _check_listener(config: Config, port: int, encrypted: bool) -> CheckResult:
    listener = config.listener
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    where = f"{listener.ae_title} at {host}:{port}{' over TLS' if encrypted else ''}"
    try:
        # As the listener does: IPv4 if a name has both families.
        family = min(entry[0] for entry in socket.getaddrinfo(listener.host, port))
        with socket.socket(family, socket.SOCK_STREAM) as probe_socket:
            probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe_socket.bind((listener.host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _check_port_in_use(config, port, encrypted, where)
        problem = listen_problem("listener", listener.host, port, error)
        return CheckResult("listener", False, f"{where}: {problem}")
    return CheckResult("listener", True, f"{where} is free to listen on")


def _check_port_in_use(config: Config, port: int, encrypted: bool, where: str) -> CheckResult:
    """Check that this daemon uses the port, and not another program."""
    title = None if encrypted else _title_of_local_peer(config)
    if not encrypted and title is None:
        return CheckResult(
            "listener",
            True,
            f"{where} is taken, probably by this daemon: no peer may call it from this machine"
            " without TLS, so it was not called",
        )
    if _shows_own_certificate(config, port) if title is None else _answers(config, port, title):
        return CheckResult("listener", True, f"{where} answers: the daemon is running")
    return CheckResult("listener", False, f"{where} is taken by another program: stop that one")


def _title_of_local_peer(config: Config) -> str | None:
    """Return the title of a peer that may call from this machine without TLS."""
    host = config.listener.host
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
    here = loopback.get(host, host)
    titles = (
        peer.ae_title
        for peer in config.callers
        if peer.as_caller.matches(Caller(peer.ae_title, here))
    )
    return next(titles, None)


def _answers(config: Config, port: int, title: str) -> bool:
    return echo(
        Destination(
            name="cxrd",
            ae_title=config.listener.ae_title,
            host=config.listener.host,
            port=port,
            calling_ae_title=title,
            timeouts=Timeouts(_SECONDS, _SECONDS, _SECONDS, _SECONDS),
        ),
        sop_classes=(),
    ).ok


def _shows_own_certificate(config: Config, port: int) -> bool:
    """Return True if a program with this node's key uses the port.

    Only the TLS handshake is tried: an association may need the certificate of a peer.
    """
    own = client_context(config.tls.certificate, config.tls.credentials, check_name=False)
    try:
        with (
            socket.create_connection((config.listener.host, port), _SECONDS) as plain,
            own.wrap_socket(plain) as connection,
        ):
            return connection.version() is not None
    except OSError:
        return False


def _check_syslog(config: SyslogConfig) -> CheckResult:
    where = f"{config.host}:{config.port}"
    with SyslogConnection(config, timeout_seconds=_SECONDS) as connection:
        connection.flush()
    if config.transport is SyslogTransport.UDP:
        return CheckResult(
            "syslog", True, f"{where} has an address; UDP does not show whether messages arrive"
        )
    return CheckResult("syslog", True, f"{where} can be reached ({config.transport})")


def _check_destination(config: Config, peer: PeerConfig) -> CheckResult:
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
