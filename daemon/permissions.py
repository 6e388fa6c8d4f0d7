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
    problems = []
    for path in _private_paths(config):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ConfigError(f"{path} can be changed by every user: chmod -R o-rwx {path}")
        if mode & stat.S_IROTH:
            problems.append(f"{path} can be read by every user: chmod -R o-rwx {path}")
    return problems


def _private_paths(config: Config) -> Iterator[Path]:
    """What holds patients' data or secrets, or leads to it."""
    yield config.data_dir
    yield config.spool_dir
    yield from sorted(config.data_dir.glob("*.sqlite*"))
    secrets = (
        config.tls.key,
        config.tls.key_password_file,
        config.web.key,
        config.web.key_password_file,
        config.database_url_file,
        token_path(config),
    )
    yield from (path for path in secrets if path is not None)
