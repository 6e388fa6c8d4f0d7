"""`cxrd serve`: runs the daemon."""

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, load_config
from daemon.errors import ROOM_ERRORS, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from daemon.config.settings import Config
    from daemon.worker.role import RoleName


def serve(
    config: ConfigOption = None,
    only: Annotated[
        str | None, typer.Option(help="Run only these roles, for example listener,courier.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C, which let it finish the films in work."""
    from daemon.config.sections.log import LogFormat
    from daemon.worker.logs.setup import configure_logging

    settings = load_config(config)
    roles = roles_of(only)
    configure_logging(settings.log, "supervisor")
    if settings.log.format is LogFormat.TEXT:
        _run(settings, roles, _echo)
        return
    log = logging.getLogger("supervisor")
    try:
        _run(settings, roles, log.info)
    except ROOM_ERRORS as error:
        log.critical("%s", error)
        raise typer.Exit(1) from None


def _echo(line: str) -> None:
    # The terminal may be closed: the daemon then stops without a reader of its words.
    with contextlib.suppress(OSError):
        typer.echo(line, err=True)


def _run(settings: "Config", roles: "list[RoleName]", say: "Callable[[str], None]") -> None:
    """Run the daemon; `say` gets what it tells the operator at its start and its end."""
    from daemon.preflight.before_start import require_startable
    from daemon.supervise.service_manager import ServiceManager
    from daemon.supervise.supervisor import Supervisor, stop_on_signals
    from daemon.worker.logs.setup import log_uncaught
    from daemon.worker.role import RoleName

    log = logging.getLogger("supervisor")
    if settings.file is None:
        log.warning(
            "no config.yaml in this folder: the defaults are used, with the data in %s; name a file"
            " with --config, or write one with `cxrd init`",
            settings.data_dir,
        )
    for warning in require_startable(settings, roles):
        log.warning("%s", warning)

    def on_ready(working: "Mapping[RoleName, float]") -> None:
        listener = settings.listener
        places = [", ".join(f"{role} {1000 * after:.0f} ms" for role, after in working.items())]
        if RoleName.LISTENER in working:
            places.append(f"{listener.ae_title} at {listener.host}:{listener.port}")
        if RoleName.WEB in working:
            is_here = settings.web.token is None and settings.token_path.exists()
            token = f" (token: {settings.token_path})" if is_here else ""
            places.append(f"status page {settings.web.url}{token}")
        say(f"cxrd is ready: {'; '.join(places)}. Research use only.")

    at_once = threading.Event()
    with stop_on_signals(at_once) as stop:
        log_uncaught(log)
        manager = ServiceManager.of_environment()
        Supervisor(settings, roles, manager=manager, say=say).run(stop, on_ready, at_once)


def roles_of(only: str | None) -> "list[RoleName]":
    """Return the roles that `--only` names, all without it. Raises UsageError."""
    from daemon.worker.role import RoleName

    if only is None:
        return list(RoleName)
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [role.value for role in RoleName]
    for name in names:
        if name not in known:
            raise UsageError(
                f"--only: no role is called {name!r}; the roles are {', '.join(known)}"
            )
    if not names:
        raise UsageError(f"--only: name at least one of {', '.join(known)}")
    return [role for role in RoleName if role.value in names]
