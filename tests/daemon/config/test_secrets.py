"""Passwords and tokens come from the environment or a file, and are never shown."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.config.loading import load_config
from daemon.errors import ConfigError
from daemon.preflight import checks
from daemon.preflight.result import CheckResult
from tests.builders.certificates import Authority, run
from tests.tools.cli import cxrd, cxrd_process
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

SECRET = "s3cret-canary-of-the-node"  # noqa: S105 - of a test
DATABASE = f"postgresql://cxrd:{SECRET}@{HOST}:1/cxrd"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_secrets_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    for name, text in (("url", DATABASE), ("password", SECRET)):
        (tmp_path / name).write_text(f"{text}\n")
    path = write(
        tmp_path,
        "database_url_file: url\n"
        "tls: {certificate: a.pem, key: a.key, key_password_file: password, ca: ca.pem}\n"
        "listener: {tls: true}\n"
        "web: {certificate: a.pem, key: a.key, key_password_file: password, token_file: token}\n",
    )
    config = load_config(path)
    assert config.resolved_database_url == DATABASE
    for section in (config.tls, config.web):
        assert section.credentials is not None
        assert section.credentials.password == SECRET
        assert section.credentials.certificate == tmp_path / "a.pem"
    assert config.web.token_file == tmp_path / "token"
    assert SECRET not in f"{config!r} {config} {config.tls.credentials!r}"
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - passed to roles so


def test_secrets_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRD_DATABASE_URL", DATABASE)
    monkeypatch.setenv("CXRD_TLS__KEY_PASSWORD", SECRET)
    monkeypatch.setenv("CXRD_WEB__TOKEN", SECRET)
    tls = "tls: {certificate: a.pem, key: a.key, ca: ca.pem}\nlistener: {tls: true}\n"
    config = load_config(write(tmp_path, tls))
    assert config.resolved_database_url == DATABASE
    assert config.tls.credentials is not None
    assert config.tls.credentials.password == SECRET
    assert config.web.token is not None
    assert config.web.token.get_secret_value() == SECRET
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls: {key_password_file: gone}", "gone: the secret in it cannot be read (No such"),
        ("database_url_file: gone", "gone: the secret in it cannot be read (No such"),
        ("database_url_file: two", "two: must hold one line, the secret"),
        ("database_url_file: empty", "empty: must hold one line, the secret"),
    ],
)
def test_file_of_a_secret_that_cannot_be_used_is_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "two").write_text(f"{SECRET}\n{SECRET}\n")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


Failing = Callable[..., str]


@pytest.fixture
def failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Failing:
    """Runs a command that fails, and returns its output; the model, which has no secret, is out."""

    def command(*arguments: str, **variables: str) -> str:
        no_model = CheckResult("model", False, "no model in this test")
        monkeypatch.setattr(checks, "check_model", lambda _config: no_model)
        done = cxrd(*arguments, cwd=tmp_path, variables=variables)
        assert done.returncode != 0
        shown = done.stdout + done.stderr + "".join(capfd.readouterr())
        assert shown
        return shown

    return command


@pytest.mark.parametrize(
    "text",
    [
        f"database_url: [{SECRET}]",
        f"database_url: {{a: {SECRET}}}",
        f"database_url: {SECRET}",
        f"database_url: {DATABASE}",
        f"database_url: mysql://a:{SECRET}@b/c",
        f"web: {{token: '{SECRET[:5]}'}}",
        f"web: {{token: [{SECRET}]}}",
        f"tls: {{key_password: {SECRET}, key_password_file: x}}",
        f"tls: {{key_password: {{a: {SECRET}}}}}",
        f"tls: [{SECRET}]",
        f"web: {{token: {SECRET}\nlistener: [",
        f"{SECRET}",
    ],
)
@pytest.mark.parametrize("command", [["check"], ["jobs", "list"]])
def test_no_error_shows_a_secret(
    tmp_path: Path, failing: Failing, text: str, command: list[str]
) -> None:
    write(tmp_path, f"{text}\n")
    assert SECRET[:5] not in failing(*command)


def test_wrong_password_of_a_key_is_not_shown(
    tmp_path: Path, pki: Authority, failing: Failing
) -> None:
    run(
        tmp_path,
        f"openssl pkey -in '{pki.of('cxrd').key}' -aes256 -passout pass:right -out locked.key",
    )
    write(
        tmp_path,
        f"tls: {{certificate: {pki.of('cxrd').certificate}, key: locked.key, ca: {pki.ca}}}\n"
        f"listener: {{tls: true, port: {free_port()}}}\nweb: {{port: {free_port()}}}\npeers: []\n",
    )
    password = {"CXRD_TLS__KEY_PASSWORD": SECRET}
    checked = failing("check", **password)
    served = cxrd_process("serve", cwd=tmp_path, variables=password)
    assert served.returncode == 1
    for output in (checked, served.stderr):
        assert f"the password of {tmp_path / 'locked.key'} is not right" in output
        assert SECRET not in output


@pytest.mark.slow
def test_process_list_shows_no_secret(tmp_path: Path) -> None:
    write(tmp_path, f"web: {{port: {free_port()}}}\nlistener: {{port: {free_port()}}}\n")
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "serve", "--only", "web,listener"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CXRD_WEB__TOKEN": SECRET},
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        try:
            assert daemon.stderr is not None
            log = ""
            while "cxrd is ready" not in log:
                line = daemon.stderr.readline()
                assert line, log
                log += line
            group = os.getpgid(daemon.pid)
            commands = [
                (path / "cmdline").read_bytes()
                for path in Path("/proc").iterdir()
                if path.name.isdigit() and _group_of(int(path.name)) == group
            ]
        finally:
            daemon.terminate()
        log += daemon.stderr.read()
    assert sum(b"daemon" in line or b"spawn_main" in line for line in commands) >= 3
    assert not any(SECRET.encode() in line for line in commands)
    assert SECRET not in log


def _group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None
