"""Limits of the configuration reach the node and the system."""

import resource

import pytest

from daemon.config.loading import load_config
from daemon.config.sections.roles import ListenerConfig
from daemon.errors import ConfigError
from daemon.listener import allow_open_files, limits_of


def test_the_node_gets_the_limits_of_the_configuration() -> None:
    limits = limits_of(
        ListenerConfig(
            max_instance_mb=3,
            max_receiving_mb=5,
            request_seconds=7,
            stall_seconds=11,
            idle_seconds=13,
        )
    )
    assert (limits.max_instance_bytes, limits.max_receiving_bytes) == (3 << 20, 5 << 20)
    assert (limits.request_seconds, limits.stall_seconds, limits.idle_seconds) == (7, 11, 13)


def test_one_instance_must_fit_into_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRD_LISTENER__MAX_RECEIVING_MB", "100")
    with pytest.raises(ConfigError, match="max_receiving_mb must not be less"):
        load_config()


@pytest.mark.parametrize(
    ("soft", "hard", "set_to", "is_logged"),
    [
        (20_000, 20_000, None, False),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, False),
        (256, 20_000, 64 + 256 + 128, False),
        (256, resource.RLIM_INFINITY, 64 + 256 + 128, False),
        (256, 300, 300, True),
    ],
)
def test_the_limit_of_open_files_is_raised_for_every_connection(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    set_to: int | None,
    is_logged: bool,
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, values: seen.append(values))
    allow_open_files(ListenerConfig(max_associations=64))
    assert seen == ([] if set_to is None else [(set_to, hard)])
    assert ("raise the limit" in caplog.text) is is_logged
