"""Writes the configuration of a new node: complete, commented, and loaded before it is kept."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.config.files.yaml_file import holds_secret, read_yaml
from daemon.config.loading import DEFAULT_FILE, load_config
from daemon.config.settings import Config
from daemon.errors import ConfigError, RoleFailedError, UsageError
from daemon.preflight.before_start import require_startable
from daemon.setup.answers import LOCAL, Answers
from daemon.setup.config_text import Place, with_peer, with_values
from daemon.shipped import shipped_file
from daemon.version import own_version
from daemon.worker.role import RoleName
from storage.files.durable import durable_file, storage_errors

PACS = "pacs"
"""The name of the peer that the answers describe."""


def require_new(folder: Path, *, force: bool) -> None:
    """Raise UsageError for a file, or if the folder has a configuration that stays."""
    target = folder / DEFAULT_FILE
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name the folder that {DEFAULT_FILE} is written into")
    if target.exists() and not force:
        raise UsageError(f"{target} exists; name another folder, or replace the file with --force")


def config_text(answers: Answers) -> str:
    """Return the shipped file with the values of the answers."""
    text = shipped_file("config.yaml").read_text(encoding="utf-8")
    web = answers.web
    values: dict[Place, object] = {
        ("data_dir",): answers.data_dir,
        ("database_url",): answers.database_url,
        ("listener", "ae_title"): answers.ae_title,
        ("listener", "host"): answers.host,
        ("listener", "port"): answers.port,
        ("web", "host"): web.host,
        ("web", "port"): web.port,
        ("web", "allowed_hosts"): list(web.names),
        ("web", "certificate"): web.certificate,
        ("web", "key"): web.key,
    }
    if answers.host not in LOCAL:
        # The peer for a first film: from this machine alone, once other machines can call.
        values["peers", 0, "host"] = "127.0.0.1"
    text = with_values(text, values)
    pacs = answers.pacs
    if pacs is not None:
        peer: dict[str, object] = {
            "name": PACS,
            "ae_title": pacs.ae_title,
            "host": pacs.host,
            "port": pacs.port,
            "sends": pacs.sends,
            "receives": ["report", "heatmap"] if pacs.receives else [],
        }
        text = with_peer(text, peer)
    head = f"# Written by `cxrd init` of cxrd {own_version()}. The shipped file has the defaults."
    return f"{head}\n{text}"


def write_config(folder: Path, answers: Answers, *, force: bool) -> tuple[Config, list[str]]:
    """Write config.yaml into a folder. Return it as loaded, and warnings for the operator.

    The file is readable by its owner alone if it holds a secret. With `force`, a port in use is no
    fault: the node that the file belongs to may run.

    Raises UsageError if there is a file, ConfigError and the errors of `require_startable` for
    answers that do not fit; then nothing is written.
    """
    require_new(folder, force=force)
    target = folder / DEFAULT_FILE
    text = config_text(answers)
    with _made(folder):
        warnings = _checked(folder, text, force=force)
        with durable_file(target, folder) as file:
            file.write(text.encode())
        target.chmod(0o600 if holds_secret(read_yaml(target)) else 0o644)
    return load_config(target), warnings


def _checked(folder: Path, text: str, *, force: bool) -> list[str]:
    """Load a file with this text in the folder, as `serve` would. Return the warnings."""
    with (
        storage_errors(folder),
        tempfile.NamedTemporaryFile("w", dir=folder, suffix=".yaml", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        try:
            config = load_config(Path(file.name))
            return require_startable(config, (RoleName.LISTENER, RoleName.WEB))
        except ConfigError as error:
            raise ConfigError(str(error).replace(file.name, str(folder / DEFAULT_FILE))) from None
        except RoleFailedError:
            if not force:
                raise
            return []


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder that the user of the node can enter; remove it again if the block fails."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in new:
            path.chmod(0o755)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()
        raise
