"""Checks of this host: folders, store, certificates, roles and ports.

No check creates a folder, a file that stays, or a table: the user who checks need not be the user
who serves.
"""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

from daemon.config.files.permissions import readable_by_others, sqlite_file
from daemon.config.settings import Config
from daemon.config.tls import (
    hl7_context,
    is_short_lived,
    listener_context,
    own_certificates,
    remaining,
    web_context,
)
from daemon.preflight.before_start import existing, folders_of, require_writable
from daemon.preflight.result import CheckResult
from daemon.web.access.token_file import check_tokens
from daemon.web.address import require_private
from daemon.web.dicomweb.clients import check_clients
from daemon.worker.board import RoleState, addresses_in_use, roles_here
from daemon.worker.listening import Address, is_taken
from dicom_io.errors import CertificateDateError
from dicom_io.peer.listening import listen_problem
from storage.files.durable import storage_errors
from storage.files.places import open_spool
from storage.store import Store
from storage.tables.database import open_database
from storage.tables.upgrade import is_current
from storage.upkeep.integrity import check_store


def check_disk(config: Config) -> CheckResult:
    """Check that the folders of the node can be written. Raises StorageError if not."""
    folders = folders_of(config)
    missing = [path for path in folders if not path.exists()]
    for path in folders:
        require_writable(path)
    folder = existing(folders[-1])
    with storage_errors(folder):
        free_mb = shutil.disk_usage(folder).free // 2**20
    detail = f"{folder} is writable, {free_mb} MB free"
    if missing:
        detail += f"; `cxrd serve` creates {missing[0]}"
    if config.spool_folder is not None and free_mb < config.spool.min_free_mb:
        detail += f"; below spool.min_free_mb ({config.spool.min_free_mb}) images are refused"
        return CheckResult("disk", False, detail)
    return CheckResult("disk", True, detail)


def check_permissions(config: Config) -> CheckResult:
    """Check that other users can neither read nor change the node's files."""
    problems = readable_by_others(config)
    detail = "; ".join(problems) or "files and secrets are closed to other users"
    return CheckResult("permissions", not problems, detail)


def check_stored(config: Config) -> CheckResult:
    """Check that the store can be opened and written, or created. Raises StorageError."""
    url = config.resolved_database_url
    spool = open_spool(config.spool_place)
    check_store(url, spool)
    path = sqlite_file(config)
    if path is not None and not (path.exists() and path.stat().st_size):
        require_writable(path.parent, "database_url")
        return CheckResult("store", True, f"`cxrd serve` creates {path}")
    with open_database(url) as database:
        with database.writing():
            pass  # A transaction without a change fails if the store cannot be written.
        if not is_current(database):
            return CheckResult("store", True, "of an earlier version: `cxrd serve` upgrades it")
    with Store.open(url, migrate=False) as store:
        store.binding.require(spool)
        jobs = sum(store.status.job_counts().values())
    return CheckResult("store", True, f"opens, {jobs} job(s) in it")


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


def check_roles(config: Config) -> Iterator[CheckResult]:
    """Yield a line for each role of this node that runs on this host."""
    for status in roles_here(config):
        detail = f"{status.state} since {status.since:%Y-%m-%d %H:%M:%S} UTC"
        detail += f", {status.restarts} restart(s)"
        if status.reason:
            detail += f": {status.reason}"
        is_well = status.state is not RoleState.DOWN and not status.reason
        yield CheckResult(f"role {status.role}", is_well, detail)


def check_listener(config: Config, address: Address) -> CheckResult:
    """Check one port of the listener. Raises CertificateError."""
    is_hl7 = address.section == "hl7"
    if address.encrypted:
        (hl7_context if is_hl7 else listener_context)(config)
    name = "HL7 (MLLP)" if is_hl7 else config.listener.ae_title
    title = f"{name} at {address}{' over TLS' if address.encrypted else ''}"
    return _check_port(config, address, title)


def check_web(config: Config, address: Address) -> CheckResult:
    """Check address, token and port of the page. Raises ConfigError or RoleFailedError."""
    require_private(config.web)
    check_tokens(config)
    check_clients(config.dicomweb)
    with contextlib.suppress(CertificateDateError):
        web_context(config)
    return _check_port(config, address, config.web.url)


def _check_port(config: Config, address: Address, title: str) -> CheckResult:
    try:
        taken = is_taken(address)
    except OSError as error:
        problem = listen_problem(address.named_in, address.host, address.port, error)
        return CheckResult(address.role, False, f"{title}: {problem}")
    if not taken:
        return CheckResult(address.role, True, f"{title} is free to listen on")
    if str(address) in addresses_in_use(config):
        return CheckResult(address.role, True, f"{title} is in use by this node, which runs")
    detail = f"{title} is taken by another program: stop that one, or set another port"
    return CheckResult(address.role, False, detail)
