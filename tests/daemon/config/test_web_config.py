"""Tokens, accounts and proxies of the web pages in the configuration."""

import json
import re
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from daemon.audit.configuration import describe
from daemon.config.files.permissions import readable_by_others
from daemon.config.loading import load_config
from daemon.config.sections.web import AccountConfig, WebConfig, WebRole
from daemon.config.settings import Config
from daemon.errors import ConfigError
from tests.tools.paths import ROOT

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of a test
SALT = "c2FsdHNhbHRzYWx0c2FsdA"
HASH = f"$argon2id$v=19$m=65536,t=3,p=4${SALT}$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def account(name: str = "ines", role: str = "viewer", hashed: str = HASH) -> str:
    return f"{{name: {name}, role: {role}, password_hash: '{hashed}'}}"


def test_users_of_the_pages_are_read(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            "web:\n  token_role: operator\n"
            f"  tokens: [{{name: prometheus, role: metrics, token: {TOKEN}}},"
            " {name: script, role: admin, token_file: secrets/script}]\n"
            f"  accounts: [{account()}]\n"
            "  trusted_proxies: [192.0.2.7, 10.1.0.0/16, '2001:db8::/32']\n"
            "  proxy_user_header: X-Forwarded-User\n"
            "  proxy_groups_header: X-Forwarded-Groups\n"
            "  proxy_roles: {ines: admin, '@radiology': viewer}\n",
        )
    ).web
    assert config.token_role is WebRole.OPERATOR
    assert [(each.name, each.role) for each in config.tokens] == [
        ("prometheus", WebRole.METRICS),
        ("script", WebRole.ADMIN),
    ]
    assert list(config.token_files) == [tmp_path / "secrets" / "script"]
    assert [each.name for each in config.accounts] == ["ines"]
    assert [str(each) for each in config.proxy_networks] == [
        "192.0.2.7/32",
        "10.1.0.0/16",
        "2001:db8::/32",
    ]
    assert config.proxy_roles == {"ines": WebRole.ADMIN, "@radiology": WebRole.VIEWER}
    assert TOKEN not in repr(config)
    assert HASH not in repr(config)


PROXY = "trusted_proxies: [10.0.0.1], proxy_user_header: X-User, proxy_roles: {ines: viewer}"


@pytest.mark.parametrize(
    ("web", "message"),
    [
        ("token_role: root", "web.token_role: must be 'metrics', 'viewer'"),
        (f"tokens: [{{name: a, rle: admin, token: {TOKEN}}}]", "did you mean web.tokens.0.role?"),
        ("tokens: [{name: a, role: admin}]", "'a' needs either token or token_file"),
        (
            f"tokens: [{{name: a, role: admin, token: {TOKEN}, token_file: x}}]",
            "'a' needs either token or token_file",
        ),
        ("tokens: [{name: a, role: admin, token: short}]", "a token has at least 20 printable"),
        (
            f"tokens: [{{name: ines, role: admin, token_file: x}}], accounts: [{account()}]",
            "two tokens or accounts are called 'ines'; names must differ",
        ),
        (f"accounts: [{account()}, {account()}]", "are called 'ines'"),
        (f"accounts: [{account('token')}]", "and is not 'token'"),
        (f"accounts: [{account(repr('a' * 65))}]", "a name has 1 to 64 printable characters"),
        (f"accounts: [{account(repr(' ines'))}]", "a name has 1 to 64 printable characters"),
        ('accounts: [{name: "a\\nb", role: viewer, password_hash: x}]', "1 to 64 printable"),
        (f"accounts: [{account(hashed='hunter2')}]", "must be an argon2id hash, as `cxrd"),
        (
            f"accounts: [{account(hashed=HASH.replace('argon2id', 'argon2i'))}]",
            "must be an argon2id hash",
        ),
        (
            f"accounts: [{account(hashed=HASH.replace('65536', '4194304'))}]",
            "costs more than m=262144",
        ),
        (
            f"accounts: [{account(hashed=HASH.replace('65536', '7'))}]",
            "is not a possible argon2id hash",
        ),
        ("trusted_proxies: [10.0.0.1/8]", "trusted_proxies.0: must be an address or a network"),
        ("trusted_proxies: [proxy.lan]", "trusted_proxies.0: must be an address or a network"),
        ("trusted_proxies: [0.0.0.0/0]", "would trust the identity that any host claims"),
        ("proxy_user_header: 'X User'", "must be a header of its own, such as X-Forwarded-User"),
        ("proxy_user_header: Authorization", "must be a header of its own"),
        ("proxy_user_header: X-User", "trusted_proxies names no proxy that may send it"),
        (
            "proxy_user_header: X-User, trusted_proxies: [10.0.0.1]",
            "proxy_roles gives no user or group a role",
        ),
        ("proxy_roles: {ines: viewer}", "proxy_roles is set, but proxy_user_header is not"),
        ("proxy_groups_header: X-Groups", "proxy_groups_header is set, but proxy_user_header"),
        (PROXY.replace("ines", "'@ines'"), "'@ines' is a group, but proxy_groups_header is not"),
        (PROXY.replace("ines", "'@'"), "a group has @ before them"),
        (f"{PROXY}, proxy_groups_header: x-user", "are the same header"),
        ("session_hours: 0", "web.session_hours: must be greater than 0"),
        ("idle_minutes: -1", "web.idle_minutes: must be greater than 0"),
    ],
)
def test_mistake_is_one_line_without_a_secret(tmp_path: Path, web: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, f"web: {{{web}}}"))
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    for secret in (TOKEN, SALT, "hunter2"):
        assert secret not in text


def test_users_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [{"name": "ines", "role": "viewer", "password_hash": HASH}]
    monkeypatch.setenv("CXRD_WEB__ACCOUNTS", json.dumps(accounts))
    monkeypatch.setenv("CXRD_WEB__TRUSTED_PROXIES", '["10.0.0.1"]')
    web = load_config(write(tmp_path, "")).web
    assert [each.name for each in web.accounts] == ["ines"]
    assert web.trusted_proxies == ("10.0.0.1/32",)


def test_secrets_of_users_are_recorded_as_hashes() -> None:
    web = WebConfig(
        accounts=(AccountConfig(name="ines", role=WebRole.ADMIN, password_hash=SecretStr(HASH)),),
        tokens=({"name": "job", "role": "viewer", "token": TOKEN},),  # type: ignore[arg-type]
    )
    described = describe(Config(web=web), "00" * 16)
    assert described["web.accounts.ines.role"] == "admin"
    assert described["web.accounts.ines.password_hash"].startswith("scrypt:")
    assert described["web.tokens.job.token"].startswith("scrypt:")


def test_file_of_a_named_token_is_closed_to_other_users(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "script").write_text(TOKEN)
    path = write(tmp_path, "web: {tokens: [{name: script, role: admin, token_file: script}]}")
    for mode, warnings in ((0o600, 0), (0o604, 1)):
        (tmp_path / "script").chmod(mode)
        assert len(readable_by_others(load_config(path))) == warnings


@pytest.mark.parametrize(
    "web", [f"accounts: [{account()}]", f"tokens: [{{name: a, role: admin, token: {TOKEN}}}]"]
)
def test_file_with_a_secret_of_a_user_is_secret(tmp_path: Path, web: str) -> None:
    path = write(tmp_path, f"web: {{{web}}}")
    path.chmod(0o644)
    config = load_config(path)
    assert config.file_is_secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert any(f"{path} can be read by every user" in line for line in readable_by_others(config))


def test_examples_of_the_security_page_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(web:\n.*?)```", page, re.DOTALL)
    assert len(examples) == 3
    for text in examples:
        shortened = re.sub(r"\$argon2id[^\"]*", lambda _: HASH, text)
        assert load_config(write(tmp_path, shortened)).web != WebConfig()
