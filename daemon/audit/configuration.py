"""Records the configuration, and its changes since the last start, in the audit trail.

A row holds the whole effective configuration as JSON, so that the next start can compare. A secret
is recorded as a salted scrypt hash, which shows a change and not the secret.
"""

import hashlib
import json
import re
import secrets
import socket
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from daemon.audit.users import current_user
from daemon.config.settings import Config
from storage.audit.records import AuditKind, AuditRow, subject_of
from storage.audit.trail import Audit

_HASHED = "scrypt:"
_URL_PASSWORD = re.compile(r"(?<=://)([^:/@]*):.*@|(?<=password=)[^&]*")
_CHANGED = "changed"


def record_configuration(audit: Audit, config: Config) -> dict[str, Any]:
    """Record the configuration if it differs from the last one that this host recorded.

    Returns the changes by key: the old and the new value, or `changed` for a secret.
    """
    host = socket.gethostname()
    last = _recorded(audit.latest(AuditKind.CONFIGURATION_CHANGED, host))
    salt = last["salt"] if last else secrets.token_hex(16)
    effective = describe(config, salt)
    changed = _changes(last["effective"] if last else {}, effective)
    if changed:
        digest = hashlib.sha256(_json(effective).encode()).hexdigest()
        audit.record(
            AuditKind.CONFIGURATION_CHANGED,
            actor=current_user(),
            host=host,
            subject=subject_of(sha256=digest),
            detail=_json(
                {"changed": changed if last else {}, "effective": effective, "salt": salt}
            ),
        )
    return changed if last else {}


def describe(config: Config, salt: str) -> dict[str, Any]:
    """Return values by dotted key; an item's key contains its name: `peers.pacs.port`."""
    values = config.model_dump()
    for section, key in (
        (values, "peers"),
        (values, "destinations"),
        (values["dicomweb"], "clients"),
        (values["web"], "tokens"),
        (values["web"], "accounts"),
    ):
        section[key] = {item.pop("name"): item for item in section[key]}
    flat = {key: _as_json(value, salt) for key, value in _flat(values)}
    if config.database_url is not None:
        url = config.database_url.get_secret_value()
        shown = _URL_PASSWORD.sub(r"\1:…@", url)
        flat["database_url"] = shown
        if shown != url:
            flat["database_url.password"] = _hash(url, salt)
    return flat


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs


def _as_json(value: Any, salt: str) -> Any:
    """Return a value of a JSON type; a secret becomes its hash."""
    if isinstance(value, SecretStr):
        return _hash(value.get_secret_value(), salt)
    if isinstance(value, tuple):
        return [_as_json(item, salt) for item in value]
    if isinstance(value, dict):
        return {key: _as_json(item, salt) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _hash(secret: str, salt: str) -> str:
    hashed = hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=16)
    return f"{_HASHED}{hashed.hex()}"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _CHANGED if _is_hashed(old.get(key), new.get(key)) else [old.get(key), new.get(key)]
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    }


def _is_hashed(*values: Any) -> bool:
    return any(isinstance(value, str) and value.startswith(_HASHED) for value in values)


def _recorded(row: AuditRow | None) -> dict[str, Any] | None:
    """Return the JSON of a row; None if the row was altered, as `cxrd audit verify` reports."""
    if row is None:
        return None
    try:
        found = json.loads(row.detail)
    except ValueError:
        return None
    is_whole = isinstance(found, dict) and {"effective", "salt"} <= found.keys()
    return found if is_whole else None


def _json(values: object) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
