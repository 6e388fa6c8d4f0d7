"""/configuration: the configuration as loaded, routing, peers, certificates and versions."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from daemon.config.peers import PeerConfig, RulesConfig
from daemon.config.settings import Config
from daemon.version import Version, all_versions
from daemon.web.access.roles import Role
from daemon.web.administration.setting_rows import (
    Origin,
    SettingSection,
    setting_sections,
    shown,
    without_password,
)
from daemon.web.entry import Entry
from daemon.web.health.checks import HealthReport, Level, Part
from daemon.web.site import Site
from storage.status import ModelIdentity
from storage.store import Store


@dataclass(frozen=True, slots=True)
class RouteRow:
    """The destinations of the results of a source, and the peers that send its films.

    `crossings` are the destinations that belong to another source.
    """

    source: str
    senders: tuple[str, ...]
    destinations: tuple[str, ...]
    crossings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A peer. `rules` has those that are not the default."""

    name: str
    ae_title: str
    address: str
    sends: bool
    receives: tuple[str, ...]
    source: str
    results_of: str
    pictures: str
    commitment: bool
    tls: bool
    certificates: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate of this node, by the section that names its file."""

    section: str
    level: Level
    not_before: datetime
    not_after: datetime
    days_left: int
    names: tuple[str, ...]
    sha256: str
    detail: str


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """The configuration as the web role loaded it. `file` is empty for the embedded defaults."""

    file: str
    host: str
    store: str
    sections: tuple[SettingSection, ...]
    routes: tuple[RouteRow, ...]
    peers: tuple[PeerRow, ...]
    certificates: tuple[CertificateRow, ...]
    certificate_problems: tuple[str, ...]
    model: ModelIdentity | None
    versions: tuple[Version, ...]


def configuration_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the configuration."""

    def collected() -> ConfigurationView:
        health = site.health.report()
        return collect_configuration(site.config, site.store, health, site.clock())

    def page(request: Request) -> Response:
        return site.render(
            request, "administration/configuration.html", view=collected(), origins=Origin
        )

    def document(_request: Request) -> Response:
        return site.json(collected())

    return [
        Entry("/configuration", page, Role.ADMIN, summary="The configuration as loaded."),
        Entry(
            "/api/configuration",
            document,
            Role.ADMIN,
            summary="The configuration as loaded, without secrets.",
            view=ConfigurationView,
        ),
    ]


def collect_configuration(
    config: Config, store: Store, health: HealthReport, now: datetime
) -> ConfigurationView:
    """Return the view. Raises StorageError."""
    return ConfigurationView(
        file=str(config.file or ""),
        host=socket.gethostname(),
        store=without_password(config.resolved_database_url),
        sections=setting_sections(config),
        routes=_routes(config),
        peers=tuple(_peer_row(peer) for peer in config.peers),
        certificates=tuple(_certificates(health, now)),
        certificate_problems=tuple(
            f"{check.subject}: {check.detail}"
            for check in health.of(Part.CERTIFICATE)
            if check.subject not in health.certificates
        ),
        model=store.status.latest_model(),
        versions=all_versions(),
    )


def _routes(config: Config) -> tuple[RouteRow, ...]:
    routing = config.routing
    return tuple(
        RouteRow(
            source,
            tuple(peer.name for peer in config.all_senders if peer.effective_source == source),
            destinations,
            tuple(name for name in destinations if (source, name) in routing.crossings),
        )
        for source, destinations in routing.table.items()
    )


def _peer_row(peer: PeerConfig) -> PeerRow:
    defaults = RulesConfig()
    side = "the size of the film" if peer.picture_max_side is None else f"{peer.picture_max_side}"
    return PeerRow(
        name=peer.name,
        ae_title=peer.ae_title,
        address=f"{peer.host or 'any address'}{f':{peer.port}' if peer.port else ''}",
        sends=peer.sends,
        receives=tuple(map(str, peer.receives)),
        source=peer.effective_source if peer.sends else "",
        results_of=shown(peer.results_of) if peer.results_of is not None else "",
        pictures=f"{peer.picture_syntax}, {side}" if peer.receives else "",
        commitment=peer.commitment,
        tls=peer.tls,
        certificates=peer.certificate_sha256,
        rules=tuple(
            f"{name}: {shown(value)}"
            for name, value in peer.rules
            if value != getattr(defaults, name)
        ),
    )


def _certificates(health: HealthReport, now: datetime) -> Iterator[CertificateRow]:
    checks = {check.subject: check for check in health.of(Part.CERTIFICATE)}
    for section, certificate in health.certificates.items():
        check = checks.get(section)
        yield CertificateRow(
            section=section,
            level=check.level if check is not None else Level.OK,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            days_left=certificate.days_left(now),
            names=certificate.names,
            sha256=certificate.sha256,
            detail=check.detail if check is not None else "",
        )
