"""Files that cxrd ships beside its code: config.yaml, documentation, examples of deployment."""

from pathlib import Path

from daemon.errors import DaemonError

_PACKAGE = Path(__file__).resolve().parent


def shipped_file(name: str) -> Path:
    """Return the path of a shipped file, such as `config.yaml` or `docs/install.md`.

    An installed wheel holds the files in `daemon/shipped_files`, a checkout in its root.
    Raises DaemonError for a file that is not there.
    """
    installed = _PACKAGE / "shipped_files"
    path = (installed if installed.is_dir() else _PACKAGE.parent) / name
    if not path.is_file():
        raise DaemonError(f"{path} is missing from this installation: install cxrd again")
    return path
