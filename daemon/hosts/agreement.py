"""The part of the configuration that all hosts of a store must have in common, as digests.

A section of the configuration has one digest. Left out are the settings that may differ between
hosts, all secrets and all paths. Settings with their defaults are left out, too: a later version
may add one and still agree with an earlier version.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cxr_model.errors import ModelError
from cxr_model.files.bundle_files import STARTER, read_card
from daemon.config.sections.work import STARTER_BUNDLE
from daemon.config.settings import Config

OF_ONE_HOST = frozenset(
    (
        *("data_dir", "database_url", "database_url_file", "tls", "spool", "courier", "web", "log"),
        *("listener.host", "listener.port", "listener.tls", "listener.tls_port"),
        *("listener.max_associations", "listener.max_receiving_mb", "listener.request_seconds"),
        *("listener.stall_seconds", "listener.idle_seconds"),
        *("model.bundle", "model.engine", "model.device", "model.threads"),
        *("analyst.workers", "analyst.processes", "analyst.lease_seconds", "analyst.retry_seconds"),
        "analyst.decode_seconds",
    )
)
"""The sections and settings that may differ. Of the bundle its card counts, not its place."""

UNKNOWN = "?"
"""The digest of a section that this host cannot tell: it is equal to any other."""
_LENGTH = 12


def section_digests(config: Config) -> dict[str, str]:
    """Return a digest for each section with a setting that is not the default."""
    sections: dict[str, Any] = {
        name: _kept(name, value)
        for name, value in config.model_dump(exclude_defaults=True).items()
        if name not in OF_ONE_HOST
    }
    found = {name: _digest(values) for name, values in sections.items() if values}
    place = STARTER if config.model.bundle == STARTER_BUNDLE else Path(config.model.bundle)
    try:
        card = hashlib.sha256(read_card(place)).hexdigest()
    except ModelError:
        found["model"] = UNKNOWN
    else:
        found["model"] = _digest({**sections.get("model", {}), "card": card})
    return found


def as_text(digests: Mapping[str, str]) -> str:
    """Return the digests as the text that the table of nodes keeps."""
    return json.dumps(digests, sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> dict[str, str]:
    """Return the digests of such a text; none of a text of another version."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): str(digest) for name, digest in found.items()}


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sections that differ, in order of their names."""
    names = sorted({*ours, *theirs})
    pairs = {name: (ours.get(name, ""), theirs.get(name, "")) for name in names}
    return tuple(name for name, (a, b) in pairs.items() if a != b and UNKNOWN not in (a, b))


def _kept(key: str, value: Any) -> Any:
    """Return a value without what may differ, and with lists of named items in one order."""
    if isinstance(value, dict):
        return {
            name: _kept(f"{key}.{name}", item)
            for name, item in value.items()
            if f"{key}.{name}" not in OF_ONE_HOST and not isinstance(item, (Path, SecretStr))
        }
    if isinstance(value, (list, tuple)):
        items = [_kept(key, item) for item in value]
        is_named = all(isinstance(item, dict) and "name" in item for item in items)
        return sorted(items, key=lambda item: str(item["name"])) if is_named else items
    return value.value if isinstance(value, Enum) else value


def _digest(values: object) -> str:
    text = json.dumps(values, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
