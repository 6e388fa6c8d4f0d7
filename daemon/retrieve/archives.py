"""The archives of the configuration, whichever service they are queried and retrieved by."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from daemon.config.destinations import destination_of
from daemon.config.partners.query import QueryConfig, RetrieveService
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.errors import UsageError
from dicom_io.errors import AssociationError, QueryError
from dicom_io.http.client import Endpoint, HttpTimeouts
from dicom_io.peer.tls import client_context
from dicom_io.query.retrieval import Retrieved, RetrieveSession, Service
from dicom_io.query.session import FoundStudies, QueryLimits, QuerySession
from dicom_io.query.values import FoundInstance, StudyQuery
from dicom_io.query.web import WebArchive
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.send.association import Destination

_NO_STUDY = "2.25.1"
"""A valid UID (PS3.5 B.2) that names no study."""


class Queryable(Protocol):
    """An archive that answers queries; QueryError and AssociationError are raised."""

    def find_studies(self, query: StudyQuery) -> FoundStudies:
        """Return the studies that answer a query."""

    def find_films(self, study_instance_uid: str) -> tuple[FoundInstance, ...]:
        """Return the films of a study, and the notes that reject films."""


class Archive(Queryable, Protocol):
    """An archive that films are fetched from."""

    def retrieve(self, study_instance_uid: str, wanted: Collection[FoundInstance]) -> Retrieved:
        """Fetch these films of a study."""


def queried_peer(config: Config, name: str) -> tuple[PeerConfig, QueryConfig]:
    """Return a peer that may be queried. Raises UsageError."""
    for peer in config.queried:
        if peer.name == name and peer.query is not None:
            return peer, peer.query
    names = ", ".join(peer.name for peer in config.queried) or "none"
    raise UsageError(
        f"{name!r} is no peer that may be queried: set its query; those that may are: {names}"
    )


def open_query(
    config: Config, peer: PeerConfig, should_stop: Callable[[], bool] = lambda: False
) -> AbstractContextManager[Queryable]:
    """Return the archive for queries alone, not yet entered. Raises CertificateError."""
    query = peer.query or QueryConfig()
    if query.retrieve is RetrieveService.WEB:
        return _web(config, peer, query, lambda _: StoreStatus.CANNOT_UNDERSTAND, should_stop)
    limits = QueryLimits(query.max_answers, 5 * query.answer_seconds)
    return QuerySession(archive_address(config, peer), limits, should_stop=should_stop)


def open_archive(
    config: Config,
    peer: PeerConfig,
    on_store: Callable[[ReceivedInstance], StoreStatus],
    should_stop: Callable[[], bool],
) -> AbstractContextManager[Archive]:
    """Return the archive, not yet entered. `on_store` gets the films that do not come by C-MOVE.

    `should_stop` is asked about once a second. Raises CertificateError.
    """
    query = peer.query or QueryConfig()
    if query.retrieve is RetrieveService.WEB:
        return _web(config, peer, query, on_store, should_stop)
    destination = archive_address(config, peer)
    # An archive need not answer while it sends films.
    waiting = replace(destination.timeouts, response=query.study_seconds)
    return RetrieveSession(
        replace(destination, timeouts=waiting),
        Service.GET if query.retrieve is RetrieveService.GET else Service.MOVE,
        on_store,
        QueryLimits(query.max_answers, 5 * query.answer_seconds),
        seconds=query.study_seconds,
        max_object_bytes=config.listener.max_instance_mb << 20,
        should_stop=should_stop,
    )


def archive_address(config: Config, peer: PeerConfig) -> Destination:
    """Return the address of an archive with the timeout of its answers."""
    query = peer.query or QueryConfig()
    destination = destination_of(config, peer)
    timeouts = replace(destination.timeouts, response=query.answer_seconds)
    return replace(destination, timeouts=timeouts)


def why_not_searched(archive: AbstractContextManager[Queryable]) -> str:
    """Return the reason why an archive answers no query, or an empty text.

    Asks for a study that no archive has.
    """
    try:
        with archive as opened:
            opened.find_studies(StudyQuery(study_instance_uid=_NO_STUDY))
    except (AssociationError, QueryError) as error:
        return str(error)
    return ""


def _web(
    config: Config,
    peer: PeerConfig,
    query: QueryConfig,
    on_store: Callable[[ReceivedInstance], StoreStatus],
    should_stop: Callable[[], bool],
) -> WebArchive:
    url = query.url or ""
    seconds = config.courier.network_timeout_seconds
    endpoint = Endpoint(
        peer.name,
        url,
        query.token.get_secret_value() if query.token else "",
        client_context(query.ca) if url.startswith("https:") else None,
        HttpTimeouts(seconds, query.answer_seconds, query.study_seconds),
    )
    return WebArchive(
        endpoint,
        peer.ae_title,
        on_store,
        QueryLimits(query.max_answers, 5 * query.answer_seconds),
        seconds=query.study_seconds,
        max_object_bytes=config.listener.max_instance_mb << 20,
        should_stop=should_stop,
    )
