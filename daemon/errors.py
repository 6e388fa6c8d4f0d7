"""What can go wrong in the daemon.

    DaemonError
    ├── ConfigError      config.yaml or the environment cannot be used
    ├── ReaderError      no process that reads images can be started           (retryable)
    ├── RoleFailedError  a role could not start, so the daemon does not run
    ├── SyslogError      the syslog server cannot be reached; retryable
    └── UsageError       a command was asked for something that is not there

`retryable` says whether the same call can succeed later without anybody changing anything.
"""


class DaemonError(Exception):
    """Base of every error of this room; its text is one line for the person at the terminal."""

    retryable = False


class ConfigError(DaemonError):
    """The configuration cannot be used; the text names the file, the key and the mend."""


class ReaderError(DaemonError):
    """No process that reads images can be started, for want of memory or processes."""

    retryable = True


class RoleFailedError(DaemonError):
    """A role reported at its start that it cannot work."""


class SyslogError(DaemonError):
    """The syslog server cannot be reached or takes nothing in; tried again."""

    retryable = True


class UsageError(DaemonError):
    """What a command was given does not exist or does not fit."""
