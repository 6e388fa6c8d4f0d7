"""Reads config.yaml and the environment into one frozen, validated `Config`.

Every key has a default, so an empty file (or none) is a working configuration. An environment
variable `CXRD_<SECTION>__<KEY>` overrides the file. An unknown key is an error that names the
nearest known key: a typo must not silently become a default.
"""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cxr_model.predict.choices import Device, EngineName
from daemon.config.fields import (
    AETitle,
    ListenHost,
    Port,
    Seconds,
    Section,
    SpoolConfig,
    SyslogConfig,
    TlsConfig,
    below,
    read_secret,
)
from daemon.config.files.environment import ENVIRONMENT_PREFIX, check_environment, variable_of
from daemon.config.files.yaml_file import explain, holds_secret, read_yaml
from daemon.config.log import LogConfig
from daemon.config.partners.destination import DestinationConfig, DestinationKind
from daemon.config.partners.dicomweb import DicomwebClientConfig, DicomwebConfig
from daemon.config.partners.hl7 import Hl7Config, Hl7SenderConfig
from daemon.config.partners.query import PullConfig, QueryConfig
from daemon.config.partners.worklist import WorklistConfig, check_worklists
from daemon.config.peers import PeerConfig, PriorityConfig, RulesConfig
from daemon.config.routing import Party, Receiver, Routing, check_senders
from daemon.config.web import AccountConfig, TokenConfig, WebConfig
from daemon.errors import ConfigError
from dicom_io.peer.tls import ClientCertificate
from storage.files.places import SpoolPlace

DEFAULT_FILE = Path("config.yaml")
STARTER_BUNDLE = "starter"

TOKEN_FILE = "web_token"  # noqa: S105 - a file's name


class EchoAnswer(StrEnum):
    """The callers whose C-ECHO the listener answers."""

    ANY = "any"
    PEERS = "peers"


class ListenerConfig(Section):
    """Address, limits and timeouts of the C-STORE SCP."""

    ae_title: AETitle = "CXRD"
    host: ListenHost = "127.0.0.1"
    port: Port = 11112
    tls: bool = False
    tls_port: Port | None = None
    check_called_ae_title: bool = False
    echo: EchoAnswer = EchoAnswer.ANY
    max_associations: int = Field(default=64, ge=1)
    max_instance_mb: int = Field(default=512, ge=1)
    max_receiving_mb: int = Field(default=1024, ge=1)
    request_seconds: Seconds = 10.0
    stall_seconds: Seconds = 30.0
    idle_seconds: Seconds = 300.0
    leave_seconds: float = Field(default=0.0, ge=0, le=600)
    drain_seconds: float = Field(default=0.0, ge=0, le=3600)
    reuse_port: bool = False

    @model_validator(mode="after")
    def _one_instance_fits(self) -> Self:
        if self.max_receiving_mb < self.max_instance_mb:
            raise ValueError("max_receiving_mb must not be less than max_instance_mb")
        return self

    @model_validator(mode="after")
    def _tls_has_its_port(self) -> Self:
        if self.tls_port is not None and not self.tls:
            raise ValueError("tls_port is set, but tls is false: set it to true")
        if self.tls_port == self.port:
            raise ValueError("tls_port is also port: leave it null to have TLS alone")
        return self

    @property
    def addresses(self) -> tuple[tuple[int, bool], ...]:
        """The ports to listen on, each with True for TLS."""
        if self.tls_port is not None:
            return (self.port, False), (self.tls_port, True)
        return ((self.port, self.tls),)


class StudyConfig(Section):
    """The wait after which a study is complete enough to report."""

    quiet_seconds: Seconds = 30.0


class HeatmapRule(StrEnum):
    """The findings whose heatmap and region are shown.

    VALIDATED: those whose maps were better than chance on radiologists' boxes.
    """

    ALWAYS = "always"
    VALIDATED = "validated"


class ModelConfig(Section):
    """The model, its engine and its heatmaps. `bundle` is `starter` or the path of a folder."""

    bundle: str = STARTER_BUNDLE
    engine: EngineName = EngineName.AUTO
    device: str = "auto"
    threads: int = Field(default=0, ge=0)
    heatmaps: HeatmapRule = HeatmapRule.ALWAYS

    @model_validator(mode="after")
    def _check_device(self) -> Self:
        if self.engine is EngineName.OPENVINO and self.device not in (Device.AUTO, Device.CPU):
            raise ValueError(
                f"engine openvino runs on the CPU, not on {self.device}: set device to auto or "
                "cpu, or engine to torch"
            )
        return self


class AnalystConfig(Section):
    """Leases and retries of the analyst, the limits for decoding one image, and its workers.

    `workers` is the number of images in work at once, `processes` that of the processes that share
    them; 0: from the number of processors.
    """

    workers: int = Field(default=0, ge=0, le=64)
    processes: int = Field(default=0, ge=0, le=16)
    lease_seconds: Seconds = 60.0
    max_attempts: int = Field(default=4, ge=1)
    retry_seconds: Seconds = 5.0
    decode_seconds: Seconds = 30.0
    decode_memory_mb: int = Field(default=2048, ge=64)


class CourierConfig(Section):
    """Retries of deliveries, and the network timeout."""

    retry_seconds: Seconds = 5.0
    retry_max_seconds: Seconds = 300.0
    network_timeout_seconds: Seconds = 30.0


class CommitmentScope(StrEnum):
    """The instances that a peer may ask this node to commit to."""

    OWN = "own"
    ALL = "all"


class CommitmentConfig(Section):
    """Delay, timeout and number of storage commitment requests; the scope of those of peers."""

    delay_seconds: Seconds = 5.0
    answer_seconds: Seconds = 3600.0
    max_requests: int = Field(default=5, ge=1)
    max_resends: int = Field(default=3, ge=0)
    same_association_seconds: float = Field(default=3.0, ge=0)
    scope: CommitmentScope = CommitmentScope.OWN


class RetentionConfig(Section):
    """Days for which the files of a finished study are kept; None: for ever."""

    # At most 100 years: a date before year 1 cannot be represented.
    days: float | None = Field(default=None, gt=0, le=36525)


class StatisticsConfig(Section):
    """The films to which later films are compared for drift; see docs/statistics.md.

    With `baseline_from` and `baseline_until`, the films received on these days (UTC). Otherwise the
    films of the first `baseline_days` days of the model, and of more days until there are
    `baseline_films` films.
    """

    baseline_from: date | None = None
    baseline_until: date | None = None
    baseline_days: int = Field(default=28, ge=1, le=3650)
    baseline_films: int = Field(default=500, ge=300)

    @model_validator(mode="after")
    def _period_is_complete(self) -> Self:
        begin, end = self.baseline_from, self.baseline_until
        if (begin is None) != (end is None):
            raise ValueError("set both baseline_from and baseline_until, or neither")
        if begin is not None and end is not None and begin > end:
            raise ValueError("baseline_from is after baseline_until")
        return self


DEFAULT_PEERS = (PeerConfig(name="storescu", ae_title="STORESCU", sends=True),)


class Config(BaseSettings):
    """The whole configuration. Relative paths are relative to the configuration file."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("data")
    database_url: SecretStr | None = None
    database_url_file: Path | None = None
    listener: ListenerConfig = ListenerConfig()
    tls: TlsConfig = TlsConfig()
    peers: tuple[PeerConfig, ...] = DEFAULT_PEERS
    destinations: tuple[DestinationConfig, ...] = ()
    dicomweb: DicomwebConfig = DicomwebConfig()
    hl7: Hl7Config = Hl7Config()
    worklists: tuple[WorklistConfig, ...] = ()
    priority: PriorityConfig = PriorityConfig()
    study: StudyConfig = StudyConfig()
    model: ModelConfig = ModelConfig()
    analyst: AnalystConfig = AnalystConfig()
    courier: CourierConfig = CourierConfig()
    pull: PullConfig = PullConfig()
    commitment: CommitmentConfig = CommitmentConfig()
    spool: SpoolConfig = SpoolConfig()
    syslog: SyslogConfig = SyslogConfig()
    retention: RetentionConfig = RetentionConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()
    _file: Path | None = PrivateAttr(None)
    _file_is_secret: bool = PrivateAttr(False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _peer_names_differ(self) -> Self:
        names = [one.name for one in self.receivers_and_senders]
        names += [one.name for one in self.worklists]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"peers: two peers, destinations or worklists are called {twice[0]!r}; names must"
                " differ"
            )
        return self

    @model_validator(mode="after")
    def _senders_of_one_title_share_rules(self) -> Self:
        # A received image identifies its sender by the calling AE title only.
        for first, second in combinations(self.senders, 2):
            if first.ae_title == second.ae_title and first.rules != second.rules:
                raise ValueError(
                    f"peers: {first.name!r} and {second.name!r} send as {first.ae_title}, "
                    "so their rules must be the same"
                )
            if first.ae_title == second.ae_title and first.priority != second.priority:
                raise ValueError(
                    f"peers: {first.name!r} and {second.name!r} send as {first.ae_title}, "
                    "so their priority must be the same"
                )
        return self

    @model_validator(mode="after")
    def _titles_of_stat_are_further_ones(self) -> Self:
        if self.listener.ae_title in self.priority.stat_ae_titles:
            raise ValueError(
                f"priority.stat_ae_titles names listener.ae_title, {self.listener.ae_title}: every"
                " film would be STAT; name another title, to which senders of STAT films send"
            )
        return self

    @model_validator(mode="after")
    def _results_have_their_place(self) -> Self:
        check_senders(self.peers)
        routing = Routing.of(self.receivers_and_senders)
        check_worklists(self.worklists, routing.table, self.keepers)
        return self

    @model_validator(mode="after")
    def _clients_of_dicomweb_are_told_apart(self) -> Self:
        # A received film identifies its sender by the calling AE title or the client's name.
        titles = {peer.ae_title for peer in self.senders}
        known = self.routing.table
        for client in self.dicomweb.clients:
            if client.stores and client.name in titles:
                raise ValueError(
                    f"dicomweb: client {client.name!r} has the AE title of a peer that sends: give"
                    " it another name, so that its films can be told apart"
                )
            unknown = [source for source in client.sources if source not in known]
            if unknown:
                raise ValueError(
                    f"dicomweb: client {client.name!r} reads {unknown[0]!r}, which is the source of"
                    f" no sender; the sources are: {', '.join(known) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _senders_of_hl7_change_known_sources(self) -> Self:
        known = self.routing.table
        for sender in self.hl7.senders:
            for source in sender.sources:
                if source not in known:
                    raise ValueError(
                        f"hl7 sender {sender.name} changes patients of {source!r}, which is the"
                        f" source of no peer; the sources are: {', '.join(known) or 'none'}"
                    )
        return self

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        tls = self.tls
        if self.listener.tls and tls.certificate is None:
            raise ValueError("listener.tls needs tls.certificate and tls.key")
        if self.hl7.tls and (tls.certificate is None or tls.ca is None):
            raise ValueError("hl7.tls needs tls.certificate, tls.key and tls.ca")
        if self.listener.tls and tls.client_certificate != "none" and tls.ca is None:
            raise ValueError("tls.client_certificate needs tls.ca, which signs client certificates")
        for peer in self.callers:
            if (peer.tls or peer.certificate_sha256) and not self.listener.tls:
                raise ValueError(
                    f"peer {peer.name} may call over TLS only, and listener.tls is false: set it"
                )
            if peer.certificate_sha256 and tls.client_certificate is ClientCertificate.NONE:
                raise ValueError(
                    f"peer {peer.name} has certificate_sha256, and tls.client_certificate is none:"
                    " set it to required or optional"
                )
        return self

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        called = [*(peer.tls for peer in self.peers), *(one.tls for one in self.worklists)]
        if self.listener.tls or self.hl7.tls or any(called):
            return self
        for key in ("certificate", "ca", "client_certificate"):
            if getattr(self.tls, key) != getattr(TlsConfig(), key):
                raise ValueError(
                    f"tls.{key} is set, but connections would be plain: set listener.tls to true,"
                    " or tls of a peer"
                )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = [port for port, _ in self.listener.addresses]
        for port in ports:
            if port == self.web.port and self.listener.host == self.web.host:
                raise ValueError(
                    f"listener and web both listen at port {port} of {self.web.host}: set another"
                    " web.port"
                )
        others = [(self.listener.host, port) for port in ports] + [(self.web.host, self.web.port)]
        if (self.hl7.host, self.hl7.port) in others:
            raise ValueError(
                f"hl7.port {self.hl7.port} of {self.hl7.host} is also a port of listener or web:"
                " set another hl7.port"
            )
        return self

    @model_validator(mode="after")
    def _has_one_database_url(self) -> Self:
        if self.database_url is not None and self.database_url_file is not None:
            raise ValueError("set database_url or database_url_file, not both")
        return self

    @property
    def file(self) -> Path | None:
        """The file of this configuration; None for the embedded defaults."""
        return self._file

    @property
    def file_is_secret(self) -> bool:
        """True if that file itself contains a token or a password."""
        return self._file_is_secret

    @property
    def resolved_database_url(self) -> str:
        """The store's URL: `database_url`, or a SQLite file in `data_dir`. May hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'cxrd.sqlite'}"

    @property
    def token_path(self) -> Path:
        """The file of the web token; unused if `web.token` is set."""
        return self.web.token_file or self.data_dir / TOKEN_FILE

    @property
    def spool_place(self) -> SpoolPlace:
        """The place of received images and built objects: a folder, or a bucket."""
        return self.spool.place or self.data_dir / "spool"

    @property
    def spool_folder(self) -> Path | None:
        """The folder of the spool; None if the spool is in a bucket."""
        place = self.spool_place
        return place if isinstance(place, Path) else None

    @property
    def senders(self) -> tuple[PeerConfig, ...]:
        """The peers that may send images to this node."""
        return tuple(peer for peer in self.peers if peer.sends)

    @property
    def rules_by_sender(self) -> Mapping[str, RulesConfig]:
        """The rules for films by the name of their sender: its AE title, or the client's name."""
        return {sender.sender_name: sender.rules for sender in self.all_senders}

    @property
    def all_senders(self) -> tuple[PeerConfig | DicomwebClientConfig, ...]:
        """The peers that may send films, and the clients of DICOMweb that may store them."""
        return (*self.senders, *self.dicomweb.storing)

    @property
    def callers(self) -> tuple[PeerConfig, ...]:
        """The peers that may open associations: to send, or to answer a commitment request."""
        return tuple(peer for peer in self.peers if peer.sends or peer.commitment)

    @property
    def committers(self) -> tuple[PeerConfig, ...]:
        """The peers that this node asks for commitment, or can call back to answer a request."""
        return tuple(
            peer for peer in self.peers if peer.commitment or (peer.sends and peer.has_address)
        )

    @property
    def queried(self) -> tuple[PeerConfig, ...]:
        """The peers that this node may query."""
        return tuple(peer for peer in self.peers if peer.query is not None)

    @property
    def retrieved(self) -> tuple[PeerConfig, ...]:
        """The peers that this node may fetch studies from."""
        return tuple(
            peer
            for peer in self.peers
            if peer.query is not None and peer.query.retrieve is not None
        )

    @property
    def dicom_receivers(self) -> tuple[PeerConfig, ...]:
        """The peers that receive results."""
        return tuple(peer for peer in self.peers if peer.receives)

    @property
    def keepers(self) -> frozenset[str]:
        """The names of the destinations that keep results as DICOM objects."""
        web = (one for one in self.destinations if one.kind is DestinationKind.DICOMWEB)
        return frozenset(one.name for one in (*self.dicom_receivers, *web))

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """All that receive results: peers, then destinations."""
        return (*self.dicom_receivers, *self.destinations)

    @property
    def receivers_and_senders(self) -> tuple[Party, ...]:
        """All peers, destinations and clients of DICOMweb."""
        return (*self.peers, *self.destinations, *self.dicomweb.clients)

    @property
    def routing(self) -> Routing:
        """The destinations of each sender's results."""
        return Routing.of(self.receivers_and_senders)


def load_config(path: Path | None = None) -> Config:
    """Read the file at `path`, by default ./config.yaml if it exists, else use the defaults.

    Raises:
        ConfigError: the file cannot be read, or a key or value in it (or in the environment)
            is invalid. The text is one line that names the key and the remedy.
    """
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    values = {} if path is None else _without_empty_sections(read_yaml(path))
    check_environment(Config, known_keys())
    try:
        config = Config(**values)
    except ValidationError as error:
        place = variable_of(error.errors()) or path or "the embedded defaults"
        raise ConfigError(f"{place}: {explain(error.errors(), _keys_at)}") from None
    resolved = _resolved(config, (path.parent if path is not None else Path()).resolve())
    resolved._file = path.resolve() if path is not None else None
    resolved._file_is_secret = holds_secret(values)
    return resolved


def _without_empty_sections(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out sections of which every key is a comment: they have their defaults."""
    sections = {name for name, field in Config.model_fields.items() if _section_of(field)}
    return {
        name: value for name, value in values.items() if value is not None or name not in sections
    }


def _resolved(config: Config, base: Path) -> Config:
    """Return a copy with absolute paths, and the secrets read from their files."""
    changes: dict[str, object] = {
        "data_dir": below(base, config.data_dir),
        "tls": config.tls.resolved(base),
        "web": config.web.resolved(base),
        "syslog": config.syslog.resolved(base),
        "spool": config.spool.resolved(base),
        "peers": tuple(one.resolved(base) for one in config.peers),
        "destinations": tuple(one.resolved(base) for one in config.destinations),
        "worklists": tuple(one.resolved(base) for one in config.worklists),
        "dicomweb": config.dicomweb.resolved(base),
    }
    if config.database_url_file is not None:
        changes["database_url_file"] = below(base, config.database_url_file)
        changes["database_url"] = read_secret(below(base, config.database_url_file))
    if config.model.bundle != STARTER_BUNDLE:
        bundle = str(below(base, Path(config.model.bundle)))
        changes["model"] = config.model.model_copy(update={"bundle": bundle})
    return config.model_copy(update=changes)


def known_keys() -> list[str]:
    """Return all keys outside `peers`, dotted (`listener.port`), in the order of the file."""
    keys = []
    for name, field in Config.model_fields.items():
        section = _section_of(field)
        if section is not None:
            keys += [f"{name}.{key}" for key in section.model_fields]
        else:
            keys.append(name)
    return keys


def _section_of(field: FieldInfo) -> type[Section] | None:
    """Return the class of a key that holds a section, else None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


_LISTED: dict[str, type[Section]] = {
    "peers": PeerConfig,
    "destinations": DestinationConfig,
    "hl7.senders": Hl7SenderConfig,
    "worklists": WorklistConfig,
    "web.tokens": TokenConfig,
    "web.accounts": AccountConfig,
    "dicomweb.clients": DicomwebClientConfig,
}
"""The sections that a list holds, by the key of the list."""
_NESTED: dict[str, type[Section]] = {"rules": RulesConfig, "query": QueryConfig}
"""The sections of a peer."""


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    names = [part for part in location[:-1] if isinstance(part, str)]
    section = _NESTED.get(names[-1]) if names else None
    section = section or _LISTED.get(".".join(names))
    if section is not None:
        prefix = ".".join(str(part) for part in location[:-1])
        return [f"{prefix}.{key}" for key in section.model_fields]
    return [*known_keys(), *Config.model_fields]
