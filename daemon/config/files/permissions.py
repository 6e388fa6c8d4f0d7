"""Checks that other users of this machine cannot read or change the node's files.

The node writes private files whatever the umask was. It refuses to start if another user owns or
can change a file that it trusts. If other users can only read a private file, it logs a warning at
every start and `cxrd check` fails, but images are still received: containers often mount secrets
so, and have no other users. Group permissions are the site's choice.
"""

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.config.sections.work import STARTER_BUNDLE
from daemon.config.settings import Config
from daemon.errors import ConfigError
from storage.errors import StorageError

_SQLITE = "sqlite:///"
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")


def readable_by_others(config: Config) -> list[str]:
    """Return a line for each private file or folder that other users may read.

    Raises ConfigError for a trusted path that another user owns or may change.
    """
    private = list(dict.fromkeys(_private_paths(config)))
    for path in (*private, *_trusted_paths(config)):
        _refuse_changeable(path, _mode(path))
        _refuse_owned_by_another(path)
    return [
        f"{path} can be read by every user: chmod -R o-rwx {path}"
        for path in private
        if _mode(path) & stat.S_IROTH
    ]


def _refuse_changeable(path: Path, mode: int) -> None:
    if not mode & stat.S_IWOTH:
        return
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        raise ConfigError(
            f"{path} is open to the files of every user: use a folder that is the node's alone"
        )
    raise ConfigError(f"{path} can be changed by every user: chmod -R o-w {path}")


def _refuse_owned_by_another(path: Path) -> None:
    """Raise ConfigError for a path of another user: an owner can always change the mode.

    A mount may give every file to one user (NFS, SMB); that user counts as this process.
    """
    own = os.geteuid()
    others = _owners(path) - {0, own}
    if others and (others := others - {_owner_of_new_file(path if path.is_dir() else path.parent)}):
        other = _name(min(others))
        raise ConfigError(
            f"{path} belongs to user {other}, who can change it: run cxrd as that user, or"
            f" chown -R {_name(own)} {path}"
        )


def _owners(path: Path) -> set[int]:
    """Return the owners of a path and of its link target; none if the path does not exist."""
    try:
        return {path.lstat().st_uid, path.stat().st_uid}
    except OSError:
        return set()


def _owner_of_new_file(folder: Path) -> int | None:
    """Return the owner of a file that this process creates; None if it cannot create one."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _mode(path: Path) -> int:
    """Return the mode of a path; 0 if it does not exist."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _trusted_paths(config: Config) -> Iterator[Path]:
    """Yield paths without secrets whose content the node trusts."""
    trusted = (
        config.file,
        config.tls.certificate,
        config.tls.ca,
        config.web.certificate,
        config.dicomweb.ca,
        config.syslog.certificate,
        config.syslog.ca,
        config.spool.ca,
    )
    yield from (path for path in trusted if path is not None)
    if (database := sqlite_file(config)) is not None:
        yield database.parent
    if config.model.bundle != STARTER_BUNDLE:
        bundle = Path(config.model.bundle)
        yield bundle
        yield from sorted(bundle.glob("*"))


def _private_paths(config: Config) -> Iterator[Path]:
    """Yield paths that hold patient data or secrets, and their folders."""
    yield config.data_dir
    if config.spool_folder is not None:
        yield config.spool_folder
    yield from sorted(config.data_dir.glob("*.sqlite*"))
    if (database := sqlite_file(config)) is not None:
        yield from (database.with_name(database.name + suffix) for suffix in _SQLITE_SUFFIXES)
    secrets = (
        config.file if config.file_is_secret else None,
        config.tls.key,
        config.tls.key_password_file,
        config.web.key,
        config.web.key_password_file,
        config.syslog.key,
        config.syslog.key_password_file,
        config.database_url_file,
        config.spool.secret_key_file,
        config.token_path if config.web.token is None else None,
        *config.web.token_files,
        *config.dicomweb.token_files,
    )
    yield from (path for path in secrets if path is not None)


def sqlite_file(config: Config) -> Path | None:
    """Return the file of a SQLite store; None for a server, or a URL that names no file."""
    text = config.resolved_database_url
    if text.startswith(_SQLITE) and "?" not in text:
        name: str | None = text.removeprefix(_SQLITE)
    else:
        # Imported here: SQLAlchemy takes long, and hardly any URL needs it.
        from storage.tables.database import parse_url

        try:
            url = parse_url(text)
        except StorageError:
            return None  # opening the store reports the fault
        name = url.database if url.get_backend_name() == "sqlite" else None
    return Path(name) if name not in (None, "", ":memory:") else None
