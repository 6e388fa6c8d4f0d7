"""What other users of this machine may do with the node's files: nothing.

Everything written is private whatever the umask was. What was there before is looked at: a file
that others may change, or that one of them owns, is refused, since what they put there would be
believed; one that they may only read is warned of at every start and fails `cxrd check`. It is no
reason to stop receiving, and in a container, where secrets are often mounted so, there are no
others. Groups are left to the site.
"""

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.config.settings import STARTER_BUNDLE, Config, token_path
from daemon.errors import ConfigError

_SQLITE_ENDS = ("", "-wal", "-shm", "-journal")


def write_privately() -> None:
    """From here on this process and those it starts make files of 0600, folders of 0700."""
    os.umask(0o077)


def readable_by_others(config: Config) -> list[str]:
    """A line for each file or folder of the node that other users may read.

    Raises ConfigError for one that they may change, or that belongs to one of them.
    """
    private = list(dict.fromkeys(_private_paths(config)))
    for path in (*private, *_believed_paths(config)):
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
    """An owner may always change the mode; that of a link, where it leads."""
    own = os.geteuid()
    others = _owners(path) - {0, own}
    if others and (others := others - {_owner_of_what_is_made_in(_folder_of(path))}):
        other = _name(min(others))
        raise ConfigError(
            f"{path} belongs to user {other}, who can change it: run cxrd as that user, or"
            f" chown -R {_name(own)} {path}"
        )


def _owners(path: Path) -> set[int]:
    """Of a path and of what it links to; nobody's is what is not there."""
    try:
        return {path.lstat().st_uid, path.stat().st_uid}
    except OSError:
        return set()


def _owner_of_what_is_made_in(folder: Path) -> int | None:
    """This process, but for mounts that give all files to a user of theirs (NFS, SMB)."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return None


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _mode(path: Path) -> int:
    """0 for what is not there: nobody can do anything with it."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _believed_paths(config: Config) -> Iterator[Path]:
    """What is no secret, but says who is trusted."""
    believed = (
        config.file,
        config.tls.certificate,
        config.tls.ca,
        config.web.certificate,
        config.syslog.certificate,
        config.syslog.ca,
    )
    yield from (path for path in believed if path is not None)
    if (database := _sqlite_file(config)) is not None:
        yield database.parent
    if config.model.bundle != STARTER_BUNDLE:
        bundle = Path(config.model.bundle)
        yield bundle
        yield from sorted(bundle.glob("*"))


def _private_paths(config: Config) -> Iterator[Path]:
    """What holds patients' data or secrets, or leads to it."""
    yield config.data_dir
    yield config.spool_dir
    yield from sorted(config.data_dir.glob("*.sqlite*"))
    if (database := _sqlite_file(config)) is not None:
        yield from (database.with_name(database.name + end) for end in _SQLITE_ENDS)
    secrets = (
        config.file if config.file_is_secret else None,
        config.tls.key,
        config.tls.key_password_file,
        config.web.key,
        config.web.key_password_file,
        config.syslog.key,
        config.syslog.key_password_file,
        config.database_url_file,
        token_path(config),
    )
    yield from (path for path in secrets if path is not None)


def _sqlite_file(config: Config) -> Path | None:
    """The file of the store; None where that is a server's, or no file at all."""
    scheme, _, place = config.resolved_database_url.partition(":///")
    file = place.partition("?")[0]
    is_file = scheme.partition("+")[0] == "sqlite" and file not in ("", ":memory:")
    return Path(file) if is_file else None
