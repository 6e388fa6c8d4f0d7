"""The managers of the configured worklists, and the work at each of them."""

from collections.abc import Callable

from daemon.config.destinations import endpoint_of
from daemon.config.partners.worklist import WorklistConfig, WorklistKind
from daemon.config.settings import Config
from daemon.worker.role import RoleContext
from daemon.worklist.inputs import Inputs
from daemon.worklist.outputs import keepers_of
from daemon.worklist.pushed import LocalManager
from daemon.worklist.worklist_worker import WorklistWorker
from dicom_io.peer.tls import client_context
from dicom_io.send.association import Destination, Timeouts
from dicom_io.ups.dimse import DimseManager
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.web import WebManager
from storage.files.spool import Spool
from storage.store import Store


def worklist_worker(
    context: RoleContext,
    worklist: WorklistConfig,
    spool: Spool,
    store: Store,
    wait: Callable[[float], object] | None = None,
) -> WorklistWorker:
    """Return the worker of a worklist. Raises CertificateError."""
    manager_of(context.config, worklist, store)
    return WorklistWorker(
        context,
        worklist,
        lambda: manager_of(context.config, worklist, store),
        keepers_of(context.config, worklist.source),
        spool,
        store,
        Inputs(context.config, worklist, store),
        wait,
    )


def manager_of(config: Config, worklist: WorklistConfig, store: Store) -> WorklistManager:
    """Return the manager of a worklist. Raises CertificateError or ManagerConfigurationError."""
    if worklist.kind is WorklistKind.PUSH:
        return LocalManager(worklist.name, store)
    return remote_manager(config, worklist)


def remote_manager(config: Config, worklist: WorklistConfig) -> WorklistManager:
    """Return a manager of kind dimse or web, which is another program. Raises as `manager_of`."""
    if worklist.kind is WorklistKind.WEB:
        return WebManager(endpoint_of(config, worklist))
    return DimseManager(destination_of(config, worklist))


def destination_of(config: Config, worklist: WorklistConfig) -> Destination:
    """Return the DICOM node of a manager of kind dimse. Raises CertificateError."""
    if worklist.ae_title is None or worklist.host is None or worklist.port is None:
        raise ValueError(f"worklist {worklist.name} has no address")  # WorklistConfig refuses this
    seconds = config.courier.network_timeout_seconds
    return Destination(
        name=worklist.name,
        ae_title=worklist.ae_title,
        host=worklist.host,
        port=worklist.port,
        calling_ae_title=config.listener.ae_title,
        timeouts=Timeouts(seconds, seconds, seconds, seconds),
        tls=client_context(config.tls.ca, config.tls.credentials) if worklist.tls else None,
    )
