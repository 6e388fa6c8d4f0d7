"""config.yaml and the environment → one frozen, validated `Config`.

Every key has a default, so an empty file (or none) is a working configuration. A key can be set
from the environment as `CXRD_<SECTION>__<KEY>`, which wins over the file. A key nobody knows is
an error that names its nearest match: a typo must not silently become a default.
"""

import difflib
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.config_base import Port, Seconds, Section
from daemon.config_syslog import SyslogConfig
from daemon.errors import ConfigError

ENVIRONMENT_PREFIX = "CXRD_"
DEFAULT_FILE = Path("config.yaml")
STARTER_BUNDLE = "starter"


def _checked_ae_title(value: str) -> str:
    title = value.strip()
    if not 1 <= len(title) <= 16:
        raise ValueError("an AE title has 1 to 16 characters (PS3.5 6.2, VR AE)")
    if "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has no backslash, control or non-ASCII character")
    return title


AETitle = Annotated[str, AfterValidator(_checked_ae_title)]


class Product(StrEnum):
    """What a peer may be sent."""

    REPORT = "report"
    HEATMAP = "heatmap"
    SUMMARY = "summary"
    PRESENTATION_STATE = "presentation_state"
    SEGMENTATION = "segmentation"


class PictureSyntax(StrEnum):
    """How a peer likes pictures encoded; what it does not accept it gets uncompressed."""

    UNCOMPRESSED = "uncompressed"
    RLE = "rle"
    JPEG_2000 = "jpeg_2000"
    JPEG_BASELINE = "jpeg_baseline"


class ListenerConfig(Section):
    """Where the C-STORE SCP listens, how much it takes in and how long it waits."""

    ae_title: AETitle = "CXRD"
    host: str = "127.0.0.1"
    port: Port = 11112
    check_called_ae_title: bool = False
    max_associations: int = Field(default=64, ge=1)
    max_instance_mb: int = Field(default=512, ge=1)
    max_receiving_mb: int = Field(default=1024, ge=1)
    request_seconds: Seconds = 10.0
    stall_seconds: Seconds = 30.0
    idle_seconds: Seconds = 300.0

    @model_validator(mode="after")
    def _one_instance_fits(self) -> Self:
        if self.max_receiving_mb < self.max_instance_mb:
            raise ValueError("max_receiving_mb must not be less than max_instance_mb")
        return self


class RulesConfig(Section):
    """Which films of a peer are analysed, beyond what the model needs (docs/gate.md)."""

    minimum_age_years: int | None = Field(default=None, ge=0, le=130)
    require_body_part: bool = False
    require_view: bool = False
    accept_secondary_capture: bool = True


class PeerConfig(Section):
    """Another DICOM node: one that may send to us, one that receives from us, or both."""

    name: str = Field(min_length=1)
    ae_title: AETitle
    host: str | None = None
    port: Port | None = None
    sends: bool = False
    receives: tuple[Product, ...] = ()
    picture_syntax: PictureSyntax = PictureSyntax.UNCOMPRESSED
    commitment: bool = False
    tls: bool = False
    rules: RulesConfig = RulesConfig()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.receives and (self.host is None or self.port is None):
            raise ValueError(f"peer {self.name} receives, so it needs both host and port")
        if not self.sends and not self.receives:
            raise ValueError(f"peer {self.name} neither sends nor receives: set one of the two")
        if self.commitment and not self.receives:
            raise ValueError(
                f"peer {self.name} receives nothing that it could commit to: "
                "set commitment to false"
            )
        if self.tls:
            raise ValueError("tls is not available in this version: set it to false")
        return self

    @property
    def has_address(self) -> bool:
        """Whether an association with it can be opened from here."""
        return self.host is not None and self.port is not None


class StudyConfig(Section):
    """When a study is complete enough to report."""

    quiet_seconds: Seconds = 30.0


class ModelConfig(Section):
    """Which bundle is run, and on what. `bundle` is `starter` or the path of a folder."""

    bundle: str = STARTER_BUNDLE
    device: str = "auto"
    threads: int = Field(default=0, ge=0)


class AnalystConfig(Section):
    """How the analyst holds and repeats its work."""

    lease_seconds: Seconds = 60.0
    max_attempts: int = Field(default=4, ge=1)
    retry_seconds: Seconds = 5.0


class CourierConfig(Section):
    """How deliveries are repeated and how long a peer may take to answer."""

    retry_seconds: Seconds = 5.0
    retry_max_seconds: Seconds = 300.0
    network_timeout_seconds: Seconds = 30.0


class CommitmentConfig(Section):
    """When archives are asked to commit to what they were sent, and how often."""

    delay_seconds: Seconds = 5.0
    answer_seconds: Seconds = 3600.0
    max_requests: int = Field(default=5, ge=1)
    max_resends: int = Field(default=3, ge=0)
    same_association_seconds: float = Field(default=3.0, ge=0)


class SpoolConfig(Section):
    """The low-space guard: below this, images are refused with 0xA700 instead of half kept."""

    min_free_mb: int = Field(default=512, ge=0)


class WebConfig(Section):
    """Where the web role listens, on loopback only: status page, health and metrics."""

    host: str = "127.0.0.1"
    port: Port = 8080

    @property
    def url(self) -> str:
        """The page's address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


DEFAULT_PEERS = (
    PeerConfig(name="storescu", ae_title="STORESCU", sends=True),
    PeerConfig(
        name="pacs",
        ae_title="ORTHANC",
        host="127.0.0.1",
        port=4242,
        sends=True,
        receives=(Product.REPORT, Product.HEATMAP),
    ),
)


class Config(BaseSettings):
    """The whole configuration. Relative paths are relative to the configuration file."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("data")
    database_url: str | None = None
    listener: ListenerConfig = ListenerConfig()
    peers: tuple[PeerConfig, ...] = DEFAULT_PEERS
    study: StudyConfig = StudyConfig()
    model: ModelConfig = ModelConfig()
    analyst: AnalystConfig = AnalystConfig()
    courier: CourierConfig = CourierConfig()
    commitment: CommitmentConfig = CommitmentConfig()
    spool: SpoolConfig = SpoolConfig()
    syslog: SyslogConfig = SyslogConfig()
    web: WebConfig = WebConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file says."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _peers_have_their_own_names(self) -> Self:
        names = [peer.name for peer in self.peers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"peers: two peers are called {twice[0]!r}; names must differ")
        return self

    @model_validator(mode="after")
    def _senders_are_told_apart_by_title(self) -> Self:
        # Of a received image only the calling AE title is known.
        for one in self.senders:
            for other in self.senders:
                if one.ae_title == other.ae_title and one.rules != other.rules:
                    raise ValueError(
                        f"peers: {one.name!r} and {other.name!r} send as {one.ae_title}, "
                        "so their rules must be the same"
                    )
        return self

    @property
    def resolved_database_url(self) -> str:
        """The store's URL: `database_url`, or a SQLite file in `data_dir`."""
        return self.database_url or f"sqlite:///{self.data_dir / 'cxrd.sqlite'}"

    @property
    def spool_dir(self) -> Path:
        """Where received images and built objects are kept."""
        return self.data_dir / "spool"

    @property
    def senders(self) -> tuple[PeerConfig, ...]:
        """The peers that may send to us."""
        return tuple(peer for peer in self.peers if peer.sends)

    @property
    def callers(self) -> tuple[PeerConfig, ...]:
        """The peers that may open associations: to send, or to answer about commitment."""
        return tuple(peer for peer in self.peers if peer.sends or peer.commitment)

    @property
    def committers(self) -> tuple[PeerConfig, ...]:
        """The peers that are asked for commitment, or that we can call back to answer theirs."""
        return tuple(
            peer for peer in self.peers if peer.commitment or (peer.sends and peer.has_address)
        )

    @property
    def destinations(self) -> tuple[PeerConfig, ...]:
        """The peers that receive what we make."""
        return tuple(peer for peer in self.peers if peer.receives)


def load_config(path: Path | None = None) -> Config:
    """The configuration in `path`; without one, of ./config.yaml where it exists, else defaults.

    Raises:
        ConfigError: the file cannot be read, or a key or value in it (or in the environment)
            is not usable. The text is one line naming the place and the mend.
    """
    source = path if path is not None else (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    values = {} if source is None else _read_yaml(source)
    place = str(source) if source is not None else "the embedded defaults"
    _refuse_unknown_environment()
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ConfigError(f"{place}: {_explain(error.errors())}") from None
    base = (source.parent if source is not None else Path()).resolve()
    bundle = config.model.bundle
    if bundle != STARTER_BUNDLE:
        bundle = str(base / Path(bundle).expanduser())
    return config.model_copy(
        update={
            "data_dir": base / config.data_dir.expanduser(),
            "model": config.model.model_copy(update={"bundle": bundle}),
            "syslog": config.syslog.below(base),
        }
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name it with --config"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}:{where} is not valid YAML; check its indentation") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values, such as `listener:`")
    return values


def known_keys() -> list[str]:
    """Every key outside `peers`, dotted (`listener.port`), in the order of the file."""
    keys = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys += [f"{name}.{key}" for key in section.model_fields]
        else:
            keys.append(name)
    return keys


def _refuse_unknown_environment() -> None:
    known = {ENVIRONMENT_PREFIX + key.replace(".", "__").upper() for key in known_keys()}
    sections = {name.split("__")[0] for name in known}
    for name in sorted(os.environ):
        if name.upper().startswith(ENVIRONMENT_PREFIX) and name.upper() not in known | sections:
            raise ConfigError(f"environment: unknown key {name}{_nearest(name.upper(), known)}")


def _explain(errors: list[ErrorDetails]) -> str:
    # A misspelt key also leaves its right name missing: the misspelling is what to mend.
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    error = (unknown or errors)[0]
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {place}{_nearest(place, _keys_at(error['loc']))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    if location[0] == "peers":
        prefix = ".".join(str(part) for part in location[:-1])
        section = RulesConfig if location[-2] == "rules" else PeerConfig
        return [f"{prefix}.{key}" for key in section.model_fields]
    return [*known_keys(), *Config.model_fields]


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
