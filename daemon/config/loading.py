"""Reads config.yaml and the environment into one `Config`.

Every key has a default, so an empty file (or none) is a working configuration. An environment
variable `CXRD_<SECTION>__<KEY>` overrides the file. An unknown key is an error that names the
nearest known key: a typo must not silently become a default.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from daemon.config.fields import Section, below, read_secret
from daemon.config.files.environment import check_environment, variable_of
from daemon.config.files.yaml_file import explain, holds_secret, read_yaml
from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.config.partners.hl7 import Hl7SenderConfig
from daemon.config.partners.query import QueryConfig
from daemon.config.partners.worklist import WorklistConfig
from daemon.config.peers import PeerConfig, RulesConfig
from daemon.config.sections.web import AccountConfig, TokenConfig
from daemon.config.sections.work import STARTER_BUNDLE
from daemon.config.settings import Config
from daemon.errors import ConfigError

DEFAULT_FILE = Path("config.yaml")


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
    file = path.resolve() if path is not None else None
    return resolved.read_from(file, is_secret=holds_secret(values))


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
