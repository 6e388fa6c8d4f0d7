"""/configuration: every key with its origin, and no secret."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from daemon.config.loading import known_keys, load_config
from daemon.config.settings import Config
from daemon.web.administration.configuration import collect_configuration
from daemon.web.administration.setting_rows import SettingRow, setting_sections
from daemon.web.health.checks import Health
from dicom_io.peer.tls import examine
from storage.files.folder_spool import FolderSpool
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.servers.website import Site
from tests.tools.ports import HOST

pytestmark = [pytest.mark.daemon, pytest.mark.network]

SECRET = "known-to-nobody-0123456789"  # noqa: S105 - the secret of these tests
HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$"
    "c29tZXNhbHRzb21lc2FsdA$qqSCqQPLbO7RKU+qFwvGng2vFZ9bYSGVqgqAzd7hEGQ"
)


def rows(config: Config) -> dict[str, SettingRow]:
    return {row.key: row for section in setting_sections(config) for row in section.settings}


def secret_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the keys of all fields with a secret, in lists and sections, too."""
    for name, field in model.model_fields.items():
        for kind in kinds(field):
            if issubclass(kind, SecretStr):
                yield f"{prefix}{name}"
            elif issubclass(kind, BaseModel):
                yield from secret_fields(kind, f"{prefix}{name}.")


def kinds(field: FieldInfo) -> Iterator[type]:
    waiting: list[Any] = [field.annotation]
    while waiting:
        kind = waiting.pop()
        if get_origin(kind) is None:
            if isinstance(kind, type):
                yield kind
        else:
            waiting += get_args(kind)


def with_secrets(model: BaseModel) -> BaseModel:
    """Return a copy in which every secret, also of lists, is SECRET."""
    changes: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            changes[name] = with_secrets(value)
        elif any(issubclass(kind, SecretStr) for kind in kinds(field)):
            changes[name] = SecretStr(SECRET)
        elif isinstance(value, tuple):
            changes[name] = tuple(
                with_secrets(item) if isinstance(item, BaseModel) else item for item in value
            )
    return model.model_copy(update=changes)


def test_no_secret_of_any_key_is_shown(tmp_path: Path, store: Store) -> None:
    filled = Config(
        data_dir=tmp_path,
        web={
            "tokens": [{"name": "ann", "role": "viewer", "token": SECRET}],
            "accounts": [{"name": "bob", "role": "admin", "password_hash": HASH}],
        },  # type: ignore[arg-type]
    )
    config = with_secrets(filled)
    assert isinstance(config, Config)
    config = config.model_copy(
        update={"database_url": SecretStr(f"postgresql://cxrd:{SECRET}@db/cxrd?password={SECRET}")}
    )
    known = set(secret_fields(Config))
    assert {"web.token", "web.tokens.token", "web.accounts.password_hash"} <= known
    assert {"tls.key_password", "web.key_password", "syslog.key_password"} <= known
    health = Health(filled, store, FolderSpool(filled.data_dir / "spool"), utc_now).report()
    view = collect_configuration(config, store, health, utc_now())
    assert SECRET not in str(view)
    assert "$argon2" not in str(view)
    found = rows(config)
    assert found["database_url"].value == "postgresql://cxrd:…@db/cxrd?password=…"
    assert view.store == "postgresql://cxrd:…@db/cxrd?password=…"
    for key in known - {"database_url"}:
        if key in found:
            assert (found[key].value, found[key].is_secret) == ("set, not shown", True)
    assert "name: ann" in found["web.tokens"].value


def test_every_key_has_a_row() -> None:
    assert set(rows(Config())) == set(known_keys()) - {"peers"}


def test_a_row_says_where_its_value_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("listener: {port: 11200, ae_title: CXRD}\nstudy: {quiet_seconds: 30}\n")
    monkeypatch.setenv("CXRD_WEB__PORT", "8181")
    monkeypatch.setenv("CXRD_SPOOL", '{"min_free_mb": 512}')
    found = rows(load_config(path))
    shown = {
        key: (row.value, row.default, row.is_changed, str(row.origin))
        for key, row in found.items()
        if row.origin != "default"
    }
    assert shown == {
        "listener.port": ("11200", "11112", True, "file"),
        "web.port": ("8181", "8080", True, "environment"),
        "spool.min_free_mb": ("512", "512", False, "environment"),
    }
    assert found["data_dir"].value == str(tmp_path / "data")
    assert not found["data_dir"].is_changed
    assert found["retention.days"].value == "not set"


def test_routes_peers_certificates_and_versions(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    own = pki.of("cxrd")
    config = Config(
        data_dir=tmp_path,
        tls={"certificate": own.certificate, "key": own.key, "ca": pki.ca},  # type: ignore[arg-type]
        listener={"tls": True},  # type: ignore[arg-type]
        peers=(  # type: ignore[arg-type]
            {"name": "ct", "ae_title": "CT", "sends": True, "rules": {"require_view": True}},
            {
                "name": "pacs",
                "ae_title": "PACS",
                "host": HOST,
                "port": 104,
                "receives": ["report"],
                "tls": True,
            },
        ),
    )
    health = Health(config, store, FolderSpool(config.data_dir / "spool"), utc_now).report()
    view = collect_configuration(config, store, health, utc_now())
    assert [(route.source, route.senders, route.destinations) for route in view.routes] == [
        ("ct", ("ct",), ("pacs",))
    ]
    assert [(peer.address, peer.tls, peer.rules) for peer in view.peers] == [
        ("any address", False, ("require_view: true",)),
        (f"{HOST}:104", True, ()),
    ]
    (certificate,) = view.certificates
    assert (certificate.section, certificate.not_after) == ("tls", examine(own).not_after)
    assert {"Python", "SQLite", "starlette"} <= {one.name for one in view.versions}


def test_each_page_ends_with_the_version(site: Site) -> None:
    footer = site.ask("/configuration").text.rpartition("<footer>")[2]
    assert f"cxrd {version('cxrd')}\n" in footer


def test_the_page_and_its_json_say_the_same(site: Site, store: Store) -> None:
    found = json.loads(site.ask("/api/configuration").text)
    assert {"listener", "web", "model"} <= {section["name"] for section in found["sections"]}
    page = site.ask("/configuration").text
    assert "<code>listener.ae_title</code>" in page
    assert site.token not in page
    assert site.token not in json.dumps(found)
