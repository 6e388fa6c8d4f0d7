"""Faults that `cxrd serve` reports before it starts a process.

These checks import no library of a role and take milliseconds. The others are those of the store,
which the supervisor opens, and the roles' own: a port may be taken after its check, and only the
analyst runs the network.
"""

import contextlib
import errno
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from cxr_model.engine.installed import require_engine
from cxr_model.files.bundle_files import STARTER, verify_files
from daemon.config.files.permissions import readable_by_others
from daemon.config.sections.work import STARTER_BUNDLE
from daemon.config.settings import Config
from daemon.config.tls import (
    destination_context,
    ending_soon,
    hl7_context,
    listener_context,
    web_context,
)
from daemon.errors import RoleFailedError
from daemon.web.access.token_file import check_tokens
from daemon.web.address import require_private
from daemon.web.dicomweb.clients import check_clients
from daemon.worker.board import RoleState, addresses_in_use, roles_here
from daemon.worker.listening import Address, addresses_of, is_taken
from daemon.worker.role import RoleName
from dicom_io.errors import CertificateDateError
from dicom_io.peer.listening import listen_problem
from storage.errors import OutOfSpaceError, SpoolError
from storage.files.durable import storage_errors

PORT_SECONDS = 0.5
"""The time in which a program that is ending may free a port."""


def require_startable(config: Config, roles: Collection[RoleName]) -> list[str]:
    """Return warnings for the operator. Raise the first fault that keeps a role from working.

    Raises:
        ConfigError: another user may change this node's files, or the token cannot be used.
        ModelError: the engine is not installed, or the bundle is missing or damaged.
        CertificateError: a certificate cannot be used on any day.
        StorageError: a folder cannot be written.
        RoleFailedError: a port is in use, or an address cannot be listened on.
    """
    for folder in folders_of(config):
        # A full disk is no fault of the setup: the roles wait for space.
        with contextlib.suppress(OutOfSpaceError):
            require_writable(folder)
    warnings = [*readable_by_others(config), *ending_soon(config)]
    _require_contexts(config, roles)
    if RoleName.ANALYST in roles:
        require_engine(config.model.engine)
        is_starter = config.model.bundle == STARTER_BUNDLE
        verify_files(STARTER if is_starter else Path(config.model.bundle))
    if RoleName.WEB in roles:
        require_private(config.web)
        check_tokens(config)
        check_clients(config.dicomweb)
    for role in roles:
        for address in addresses_of(config, role):
            _require_free(config, address)
    return warnings


def folders_of(config: Config) -> list[Path]:
    """Return the folders to which the node writes."""
    return [config.data_dir, *([config.spool_folder] if config.spool_folder is not None else [])]


def require_writable(path: Path, key: str = "data_dir") -> None:
    """Write a nameless file in a folder, or in the parent in which it is to be created.

    `key` of the configuration names the folder. Raises OutOfSpaceError, or SpoolError.
    """
    try:
        folder = existing(path)
        with storage_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"cxrd")
            file.flush()
    except SpoolError as error:
        raise SpoolError(f"{key} cannot be written: {error}") from error


def existing(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    with storage_errors(path):
        return next(each for each in (path, *path.parents) if each.exists())


def _require_contexts(config: Config, roles: Collection[RoleName]) -> None:
    """Make the TLS contexts of the roles. A certificate that is out of date stops its port only."""
    with contextlib.suppress(CertificateDateError):
        if RoleName.LISTENER in roles:
            listener_context(config)
            hl7_context(config)
    with contextlib.suppress(CertificateDateError):
        if RoleName.WEB in roles:
            web_context(config)
    with contextlib.suppress(CertificateDateError):
        if RoleName.COURIER in roles:
            for peer in config.peers:
                destination_context(config, peer)


def _require_free(config: Config, address: Address) -> None:
    """Raise RoleFailedError if another program holds the address, or nothing can listen there."""
    deadline = time.monotonic() + PORT_SECONDS
    try:
        while is_taken(address):
            if str(address) in _addresses_of_the_killed(config):
                return  # Roles whose supervisor was killed end soon; the new role waits for them.
            if time.monotonic() > deadline:
                if str(address) in addresses_in_use(config):
                    raise RoleFailedError(
                        f"cxrd already runs with the data_dir {config.data_dir} and listens at"
                        f" {address}: stop it first; a second node needs its own data_dir and ports"
                    )
                raise OSError(errno.EADDRINUSE, "")
            time.sleep(0.05)
    except OSError as error:
        problem = listen_problem(address.named_in, address.host, address.port, error)
        raise RoleFailedError(problem) from error


def _addresses_of_the_killed(config: Config) -> set[str]:
    return {
        address
        for status in roles_here(config)
        if status.state is RoleState.DOWN
        for address in status.addresses
    }
