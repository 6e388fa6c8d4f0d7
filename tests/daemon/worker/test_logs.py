"""The log: text, JSON and the journal of systemd; levels; no patient in any of them."""

import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.config.sections.log import LogConfig, LogFormat, LogLevel
from daemon.worker.logs import setup
from daemon.worker.logs.setup import OWN_LOGGERS, configure_logging, is_journal, log_uncaught
from storage.errors import StorageError
from tests.tools.paths import ROOT

JSON = LogConfig(format=LogFormat.JSON)
UID = "1.2.840.99.424242.1"
PATIENT = "KANARIE^ANNA"


class Log:
    """The log of this process as it is written to stderr."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def read(self) -> str:
        """Return the log since the last call."""
        return self._captured.readouterr().err

    def entries(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.read().splitlines()]


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    """The log; logging is afterwards as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        yield Log(capsys)
    root.handlers[:] = handlers
    root.setLevel(level)


def fail_with(error: Exception) -> None:
    logger = logging.getLogger("uvicorn.error")
    try:
        try:
            raise ValueError(f"{PATIENT} is no number")
        except ValueError as cause:
            raise error from cause
    except Exception:
        logger.exception("Exception in ASGI application\n")


def test_a_line_of_text_has_time_level_logger_and_message(log: Log) -> None:
    configure_logging(LogConfig(), "courier")
    logging.getLogger("courier").info("PACS: %s %d delivered", "report", 7)
    assert log.read()[19:] == "Z INFO courier: PACS: report 7 delivered\n"


def test_a_json_line_has_the_parts_of_the_message(log: Log) -> None:
    configure_logging(JSON, "listener")
    logging.getLogger("listener").warning("job %(job)d of %(peer)s", {"job": 7, "peer": "PACS"})
    (entry,) = log.entries()
    assert str(entry.pop("time"))[10::13] == "TZ"
    assert entry == {
        "level": "warning",
        "logger": "listener",
        "role": "listener",
        "pid": os.getpid(),
        "message": "job 7 of PACS",
        "event": "job %(job)d of %(peer)s",
        "values": {"job": 7, "peer": "PACS"},
    }


def test_a_value_that_json_does_not_know_is_text(log: Log) -> None:
    configure_logging(JSON, "analyst")
    logging.getLogger("analyst").info("%(free).0f of %(all)d", {"free": float("inf"), "all": 7})
    (entry,) = log.entries()
    assert entry["values"] == {"free": "inf", "all": 7}


@pytest.mark.parametrize("settings", [LogConfig(level=LogLevel.DEBUG), JSON])
def test_no_format_names_a_patient(log: Log, settings: LogConfig) -> None:
    configure_logging(settings, "web")
    own = logging.getLogger("web")
    own.warning("%s: status 0xA700: no %s here", UID, PATIENT)
    own.warning("%(uid)s: %(error)s", {"uid": UID, "error": f"status 0xA700: no {PATIENT} here"})
    own.error(ValueError(PATIENT))  # as pynetdicom does
    fail_with(KeyError(PATIENT))
    fail_with(StorageError(f"{UID} is unknown"))
    logging.getLogger("pydicom").warning(PATIENT)
    logging.getLogger("PIL.PngImagePlugin").debug(PATIENT)
    written = log.read()
    assert "0xA700" in written
    assert "KeyError" in written
    assert "is unknown" in written
    assert PATIENT not in written
    assert UID not in written


def test_an_exception_is_in_one_json_line_with_its_cause(log: Log) -> None:
    configure_logging(JSON, "web")
    fail_with(KeyError("x"))
    (entry,) = log.entries()
    exception = str(entry["exception"])
    assert exception.startswith("KeyError at\n")
    assert "after ValueError at\n" in exception
    assert exception.count("in fail_with") == 2


def test_the_level_applies_to_this_program_and_not_to_libraries(log: Log) -> None:
    for level, shown in {
        LogLevel.DEBUG: "debug own,info own,warning own,warning library,error own",
        LogLevel.WARNING: "warning own,warning library,error own",
        LogLevel.ERROR: "error own",
    }.items():
        configure_logging(LogConfig(format=LogFormat.JSON, level=level), "web")
        for name in ("debug", "info", "warning"):
            getattr(logging.getLogger("dicom_io.receive"), name)("own")
            getattr(logging.getLogger("asyncio"), name)("library")
        logging.getLogger("web").error("own")
        assert ",".join(f"{one['level']} {one['message']}" for one in log.entries()) == shown


def test_every_logger_of_this_program_is_known() -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for package in ("cxr_model", "daemon", "dicom_io", "storage")
        for path in (ROOT / package).rglob("*.py")
    )
    named = set(re.findall(r'^\w+ = logging\.getLogger\("(\w+)"\)$', text, re.MULTILINE))
    assert named | {"cxr_model", "daemon", "dicom_io"} == OWN_LOGGERS


def test_warnings_and_ends_of_threads_are_lines_of_the_log(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((sys, "excepthook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    configure_logging(JSON, "web")
    try:
        log_uncaught(logging.getLogger("daemon"))
        warnings.simplefilter("always")
        warnings.warn("something old", stacklevel=1)
        thread = threading.Thread(target=fail_to_compute, name="counting")
        thread.start()
        thread.join()
        sys.excepthook(ValueError, ValueError(PATIENT), None)
    finally:
        logging.captureWarnings(False)
    warned, of_thread, of_process = log.entries()
    assert "something old" in str(warned["message"])
    assert of_thread["message"] == "the thread counting ended by an error"
    assert "ZeroDivisionError" in str(of_thread["exception"])
    assert (of_process["level"], of_process["exception"]) == ("critical", "ValueError at\n")


def fail_to_compute() -> None:
    _ = 1 / 0


def test_the_journal_gets_priorities_and_no_time(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal(stream)
    assert not is_journal(sys.stderr)
    monkeypatch.setattr(setup, "is_journal", lambda _: True)
    configure_logging(LogConfig(), "web")
    logging.getLogger("web").warning("two\nlines")
    configure_logging(JSON, "web")
    logging.getLogger("web").error("one")
    first, second, third = log.read().splitlines()
    assert (first, second) == ("<4>WARNING web: two", "<4>lines")
    assert json.loads(third.removeprefix("<3>"))["message"] == "one"
