"""The reach of the token: an upgrade opens no patient data, a new node is open to its owner."""

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from daemon.config.sections.web import TokenConfig, WebConfig, WebRole
from daemon.config.settings import Config
from daemon.errors import ConfigError
from daemon.web.access.roles import Role
from daemon.web.access.token_file import KnownToken, check_tokens, load_tokens
from storage.store import Store
from tests.builders.store_rows import new_instance
from tests.daemon.web.access.logins import BROWSER, TOKEN, log_in, session_of
from tests.servers.website import running_site
from tests.storage.tables.release import restore, revisions
from tests.tools.ports import free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

BEFORE_ROLES = [revision for revision in revisions() if revision <= "0006"]
PATIENT_PAGES = ("/studies", "/studies/1.2", "/statistics", "/audit", "/configuration")
RAISE = "set web.token_role to viewer, operator or admin"


def loaded_of(config: Config, *, is_new_node: bool) -> tuple[KnownToken, ...]:
    with Store.open(f"sqlite:///{config.data_dir / 'tokens.sqlite'}", migrate=True) as store:
        return load_tokens(config, store.web_tokens, "web", is_new_node=is_new_node)


def node(folder: Path, revision: str | None) -> None:
    """Make a store new, or by the upgrade of a released one."""
    path = folder / "cxrd.sqlite"
    if revision is not None:
        restore(revision, path)
    Store.open(f"sqlite:///{path}", migrate=True).close()


@pytest.mark.parametrize("given", ["made", pytest.param("configured", marks=pytest.mark.slow)])
def test_upgraded_node_keeps_the_reach_of_its_token(
    tmp_path: Path, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node(tmp_path, BEFORE_ROLES[-1])
    with Store.open(f"sqlite:///{tmp_path / 'cxrd.sqlite'}", migrate=False) as store:
        new = new_instance(
            "1.2.840.113619.2.4711", patient_id="PAT4711", accession_number="ACC4712"
        )
        store.record_instance(new, 0)
    web = {"port": free_port()} | ({"token": TOKEN} if given == "configured" else {})
    if given == "made":
        (tmp_path / "web_token").write_text(f"{TOKEN}\n")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with running_site(tmp_path, web=web) as site:
        assert site.ask_with(bearer, "/").status == 200
        session = session_of(log_in(site, TOKEN))
        for path in ("/", "/metrics", "/healthz", "/api/overview"):
            for headers in (bearer, session):
                answer = site.ask_with(headers, path)
                assert answer.status in (200, 503)
                for private in ("PAT4711", "ACC4712", "1.2.840.113619"):
                    assert private not in answer.text
        page = site.ask_with({**session, **BROWSER}, "/")
        assert "token · status" in page.text
        for path in PATIENT_PAGES:
            for headers in (bearer, session):
                assert site.ask_with({**headers, **BROWSER}, path).status in (403, 404)
    assert sum(RAISE in line for line in caplog.messages) == 1


def test_new_node_opens_every_page_to_its_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node(tmp_path, None)
    with running_site(tmp_path) as site:
        page = site.ask_with({"Authorization": f"Bearer {site.token}", **BROWSER}, "/")
        assert "token · admin" in page.text
    assert "the token has the role admin" in caplog.messages
    assert RAISE not in caplog.text


@pytest.mark.parametrize("revision", [None, BEFORE_ROLES[-1]])
@pytest.mark.parametrize("role", WebRole)
def test_configuration_decides_the_role(
    tmp_path: Path, revision: str | None, role: WebRole
) -> None:
    config = Config(data_dir=tmp_path, web=WebConfig(token_role=role))
    (main,) = loaded_of(config, is_new_node=revision is None)
    assert main.role is Role.of(role)


@pytest.mark.slow
@pytest.mark.parametrize("revision", BEFORE_ROLES)
def test_every_earlier_store_counts_as_upgraded(tmp_path: Path, revision: str) -> None:
    node(tmp_path, revision)
    with Store.open(f"sqlite:///{tmp_path / 'cxrd.sqlite'}", migrate=False) as store:
        assert store.first_schema() is None


def test_a_second_start_does_not_change_the_reach(tmp_path: Path) -> None:
    node(tmp_path, None)
    node(tmp_path, None)
    with Store.open(f"sqlite:///{tmp_path / 'cxrd.sqlite'}", migrate=True) as store:
        assert store.first_schema() is not None


def test_named_tokens_have_their_own_roles(tmp_path: Path) -> None:
    (tmp_path / "prometheus").write_text("the-token-of-prometheus\n")
    tokens = (
        TokenConfig(name="prometheus", role=WebRole.METRICS, token_file=tmp_path / "prometheus"),
        TokenConfig(name="script", role=WebRole.OPERATOR, token=SecretStr(TOKEN)),
    )
    config = Config(data_dir=tmp_path, web=WebConfig(tokens=tokens))
    check_tokens(config)
    loaded = loaded_of(config, is_new_node=True)
    assert [(each.name, each.role) for each in loaded] == [
        ("token", Role.ADMIN),
        ("prometheus", Role.METRICS),
        ("script", Role.OPERATOR),
    ]
    assert TOKEN not in repr(loaded)
    check_tokens(config)


@pytest.mark.parametrize("main", ["web_token", "token"])
def test_one_token_cannot_be_two_users(tmp_path: Path, main: str) -> None:
    (tmp_path / "script").write_text(f"{TOKEN}\n")
    if main == "web_token":
        (tmp_path / "web_token").write_text(f"{TOKEN}\n")
    web = WebConfig(
        token=SecretStr(TOKEN) if main == "token" else None,
        tokens=(TokenConfig(name="script", role=WebRole.ADMIN, token_file=tmp_path / "script"),),
    )
    config = Config(data_dir=tmp_path, web=web)
    for load in (check_tokens, lambda config: loaded_of(config, is_new_node=True)):
        with pytest.raises(ConfigError, match="'token' and 'script' have the same token") as caught:
            load(config)
        assert TOKEN not in str(caught.value)


def test_file_of_a_named_token_must_hold_a_token(tmp_path: Path) -> None:
    path = tmp_path / "script"
    tokens = (TokenConfig(name="script", role=WebRole.ADMIN, token_file=path),)
    config = Config(data_dir=tmp_path, web=WebConfig(tokens=tokens))
    with pytest.raises(ConfigError, match="script: the secret in it cannot be read"):
        check_tokens(config)
    path.write_text("short\n")
    with pytest.raises(ConfigError, match="script: a token has at least 20 printable"):
        check_tokens(config)
