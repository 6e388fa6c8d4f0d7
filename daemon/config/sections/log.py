"""Section `log`: the form and the amount of the log."""

from enum import StrEnum

from daemon.config.fields import Section


class LogFormat(StrEnum):
    """The form of a log line: text for people, or one JSON object."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important messages that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogConfig(Section):
    """The log on stderr: its format, and the least important messages in it."""

    format: LogFormat = LogFormat.TEXT
    level: LogLevel = LogLevel.INFO
