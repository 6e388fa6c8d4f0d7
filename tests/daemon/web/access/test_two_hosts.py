"""Two web hosts on one store, behind a balancer: one login, one token, one logout for both."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from daemon.config.sections.web import AccountConfig, WebConfig, WebRole
from daemon.config.settings import Config
from daemon.web.access.authenticator import REFRESH_SECONDS, Authenticator
from daemon.web.access.proxies import ProxyUser
from daemon.web.access.roles import Role
from daemon.web.access.sessions import digest_of
from daemon.web.access.token_file import load_tokens
from storage.audit.records import AuditKind
from storage.errors import StoreUnavailableError
from storage.store import Store
from tests.builders.stores.new import new_store
from tests.daemon.web.access.asgi import House, house_of, token_of
from tests.daemon.web.access.logins import BROWSER, OWN, PASSWORD, TOKEN, quick_hash

HASH = quick_hash()
INES: dict[str, Any] = {"name": "ines", "role": WebRole.OPERATOR, "password_hash": HASH}
LOGIN = {"name": "ines", "password": PASSWORD}
PROXY = {
    "trusted_proxies": ["10.0.0.9"],
    "proxy_user_header": "X-User",
    "proxy_roles": {"eva": "admin"},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "cxrd.sqlite") as opened:
        yield opened


def host(folder: Path, store: Store, **web: Any) -> House:
    """A host of its own, as its web role is after a start."""
    web.setdefault("accounts", [AccountConfig(**INES)])
    folder.mkdir(exist_ok=True)
    return house_of(folder, store, **web)


def test_a_login_is_valid_at_both_and_a_logout_ends_it_at_both(
    tmp_path: Path, store: Store
) -> None:
    one, other = host(tmp_path / "a", store), host(tmp_path / "b", store)
    login = one.post("/login", LOGIN)
    for each in (one, other):
        assert each.ask("/", headers=login.session).status == 200
    secret = one.secret_of(login.session)
    left = other.post("/logout", {"csrf": secret}, headers=login.session)
    assert left.status == 303
    for each in (one, other):
        assert each.ask("/", headers=login.session).status == 401
    assert login.headers["set-cookie"].partition("=")[2][:43].encode() not in _bytes_of(tmp_path)


def _bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("cxrd.sqlite*"))


def test_a_restart_ends_no_session(tmp_path: Path, store: Store) -> None:
    login = host(tmp_path, store).post("/login", LOGIN)
    assert host(tmp_path, store).ask("/", headers=login.session).status == 200


@pytest.mark.parametrize(
    "changes", [None, {"role": WebRole.ADMIN}, {"password_hash": quick_hash("another password")}]
)
def test_a_changed_or_removed_account_ends_its_sessions(
    tmp_path: Path, store: Store, changes: dict[str, Any] | None
) -> None:
    login = host(tmp_path, store).post("/login", LOGIN)
    by_token = host(tmp_path, store).post("/login", {"token": token_of(Role.ADMIN)})
    accounts = [] if changes is None else [AccountConfig(**{**INES, **changes})]
    later = host(tmp_path, store, accounts=accounts)
    assert later.ask("/", headers=login.session).status == 401
    assert later.ask("/", headers=by_token.session).status == 200


def test_a_store_that_is_down_answers_503_and_ends_no_session(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = host(tmp_path, store)
    session = house.post("/login", LOGIN).session
    with monkeypatch.context() as patch:

        def fails(*_: object) -> None:
            raise StoreUnavailableError("the store does not answer")

        for name in ("find", "end", "start"):
            patch.setattr(type(store.web_sessions), name, fails)
        page = house.ask("/", headers={**session, **BROWSER})
        assert (page.status, page.headers["refresh"]) == (503, "10")
        assert house.ask("/api/overview", headers=session).status == 503
        assert house.ask("/static/charts.css", headers=session).status == 200
        assert house.ask("/login", headers=session).status == 200
        assert house.post("/login", LOGIN).status == 503
        assert house.post("/logout", {}, headers=session).status == 503
        assert house.ask("/metrics", headers=house.bearer(Role.METRICS)).status == 200
    assert house.ask("/", headers=session).status == 200


def test_a_page_of_one_host_may_post_to_the_other_behind_a_proxy(
    tmp_path: Path, store: Store
) -> None:
    one, other = (host(tmp_path / name, store, accounts=[], **PROXY) for name in "ab")
    user = {"X-User": "eva", **OWN}
    secret = one.authenticator.accepts_user(ProxyUser("eva", Role.ADMIN), "10.0.0.9").csrf
    answer = other.post("/logout", {"csrf": secret}, headers=user, client="10.0.0.9")
    assert answer.status == 303


def started(folder: Path, store: Store) -> tuple[Authenticator, bytes]:
    """Start a web role without keys in the configuration; return it and its main token."""
    folder.mkdir(exist_ok=True)
    config = Config(data_dir=folder)
    tokens = load_tokens(config, store.web_tokens, "web", is_new_node=True)
    clock = [0.0]
    made = Authenticator(tokens, WebConfig(), store, lambda *_: None, lambda: clock[0])
    made.clock = clock  # type: ignore[attr-defined]
    return made, tokens[0].digest


async def accepted(authenticator: Authenticator, token: str) -> bool:
    headers = Headers({"authorization": f"Bearer {token}"})
    return await authenticator.accepts(headers, "a") is not None


def test_the_token_of_an_earlier_version_is_that_of_all_hosts(tmp_path: Path, store: Store) -> None:
    (tmp_path / "web_token").write_text(f"{TOKEN}\n")
    _, digest = started(tmp_path, store)
    assert digest == digest_of(TOKEN)
    _, other = started(tmp_path / "other", store)
    assert other == digest
    assert not (tmp_path / "other" / "web_token").exists()


def test_the_first_of_two_new_hosts_makes_the_token(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, digest = started(tmp_path, store)
    assert digest == digest_of((tmp_path / "web_token").read_text().strip())
    # The other one looked before the first one had recorded its own.
    monkeypatch.setattr(type(store.web_tokens), "find", lambda *_: None)
    _, other = started(tmp_path / "other", store)
    assert other == digest
    assert not (tmp_path / "other" / "web_token").exists()


def test_a_changed_file_is_the_token_of_all_hosts(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "web_token"
    started(tmp_path, store)
    first = path.read_text().strip()
    running, _ = started(tmp_path / "other", store)
    path.write_text(f"{TOKEN}\n")
    os.utime(path, (time.time() + 5, time.time() + 5))
    _, digest = started(tmp_path, store)
    assert digest == digest_of(TOKEN)
    (row,) = [row for row in store.audit.rows() if row.kind == AuditKind.TOKEN_CHANGED]
    assert TOKEN not in row.detail
    running.clock[0] += REFRESH_SECONDS  # type: ignore[attr-defined]
    assert asyncio.run(accepted(running, TOKEN))
    assert not asyncio.run(accepted(running, first))
    # A copy that another host has kept is not a new token.
    left = tmp_path / "third" / "web_token"
    left.parent.mkdir()
    left.write_text(f"{first}\n")
    os.utime(left, (1, 1))
    _, third = started(tmp_path / "third", store)
    assert third == digest
    assert "is not the token of this store, and is older" in caplog.text


def test_a_configured_token_is_not_shared(tmp_path: Path, store: Store) -> None:
    started(tmp_path, store)
    config = Config(data_dir=tmp_path, web=WebConfig(token=TOKEN))  # type: ignore[arg-type]
    (main,) = load_tokens(config, store.web_tokens, "web", is_new_node=True)
    assert (main.digest, main.is_shared) == (digest_of(TOKEN), False)
