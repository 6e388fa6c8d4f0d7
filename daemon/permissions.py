"""What other users of this machine may do with the node's files: nothing.

Everything written is private whatever the umask was. What was there before is looked at: a file
that others may change is refused, since what they put there would be believed; one that they may
only read is warned of at every start and fails `cxrd check`. It is no reason to stop receiving,
and in a container, where secrets are often mounted so, there are no others. Groups are left to
the site.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from daemon.config import Config
from daemon.errors import ConfigError
from daemon.web.token import token_path


def write_privately() -> None:
    """From here on this process and those it starts make files of 0600, folders of 0700."""
    os.umask(0o077)


def readable_by_others(config: Config) -> list[str]:
    """A line for each file or folder of the node that other users may read.

    Raises ConfigError for one that they may change.
    """
    private = list(dict.fromkeys(_private_paths(config)))
    for path in (*private, *_believed_paths(config)):
        mode = _mode(path)
        # In a folder with the sticky bit nobody replaces what is another's.
        is_sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
        if mode & stat.S_IWOTH and not is_sticky:
            raise ConfigError(f"{path} can be changed by every user: chmod -R o-w {path}")
    return [
        f"{path} can be read by every user: chmod -R o-rwx {path}"
        for path in private
        if _mode(path) & stat.S_IROTH
    ]


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


def _private_paths(config: Config) -> Iterator[Path]:
    """What holds patients' data or secrets, or leads to it."""
    yield config.data_dir
    yield config.spool_dir
    yield from sorted(config.data_dir.glob("*.sqlite*"))
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
