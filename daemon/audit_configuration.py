"""The configuration in the audit trail: what it is, and what has changed since the last start.

A row holds the whole effective configuration as JSON, so that the next start can be compared with
it. Secrets are not in it but as a salted scrypt hash, by which a change is noticed.
"""

import hashlib
import json
import re
import secrets
import socket
from typing import Any

from daemon.audit_person import current_user
from daemon.config import Config
from storage.audit import Audit
from storage.audit_records import AuditKind, AuditRow, subject_of

_SECRET = re.compile(r"token|password|secret|key", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^:/@]*):.*@|(?<=password=)[^&]*")
_CHANGED = "changed"


def record_configuration(audit: Audit, config: Config) -> dict[str, Any]:
    """Record the configuration where it is not the one this host last recorded.

    Returns what changed, by key: the old and the new value, or `changed` for a secret.
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
    """Every key with its value, dotted; a peer's by its name: `peers.pacs.port`."""
    values = config.model_dump(mode="json")
    values["peers"] = {peer.pop("name"): peer for peer in values["peers"]}
    flat = {key: _without_secret(key, value, salt) for key, value in _flat(values)}
    url = config.database_url
    if url is not None and _URL_PASSWORD.search(url):
        flat["database_url"] = _URL_PASSWORD.sub(r"\1:…@", url)
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


def _without_secret(key: str, value: Any, salt: str) -> Any:
    return _hash(str(value), salt) if value is not None and _is_secret(key) else value


def _is_secret(key: str) -> bool:
    return _SECRET.search(key.rpartition(".")[2]) is not None


def _hash(secret: str, salt: str) -> str:
    hashed = hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=16)
    return f"scrypt:{hashed.hex()}"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _CHANGED if _is_secret(key) else [old.get(key), new.get(key)]
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    }


def _recorded(row: AuditRow | None) -> dict[str, Any] | None:
    """None also where the row has been altered: `cxrd audit verify` says so."""
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
