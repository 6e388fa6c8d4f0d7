"""The whole configuration as one frozen, validated value; `loading` reads it."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Self

from pydantic import PrivateAttr, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from daemon.config.fields import (
    SpoolConfig,
    SyslogConfig,
    TlsConfig,
)
from daemon.config.files.environment import ENVIRONMENT_PREFIX
from daemon.config.partners.destination import DestinationConfig, DestinationKind
from daemon.config.partners.dicomweb import DicomwebClientConfig, DicomwebConfig
from daemon.config.partners.hl7 import Hl7Config
from daemon.config.partners.query import PullConfig
from daemon.config.partners.worklist import WorklistConfig, check_worklists
from daemon.config.peers import PeerConfig, PriorityConfig, RulesConfig
from daemon.config.routing import Party, Receiver, Routing, check_senders
from daemon.config.sections.log import LogConfig
from daemon.config.sections.roles import (
    AnalystConfig,
    CommitmentConfig,
    CourierConfig,
    ListenerConfig,
)
from daemon.config.sections.web import WebConfig
from daemon.config.sections.work import (
    ModelConfig,
    RetentionConfig,
    StatisticsConfig,
    StudyConfig,
)
from dicom_io.peer.tls import ClientCertificate
from storage.files.places import SpoolPlace

TOKEN_FILE = "web_token"  # noqa: S105 - a file's name


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

    def read_from(self, file: Path | None, *, is_secret: bool) -> Self:
        """Return this configuration with the file that it was read from."""
        found = self.model_copy()
        found._file, found._file_is_secret = file, is_secret
        return found

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
