"""`cxrd serve`: runs the daemon."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, load_config
from daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.worker.role import RoleName


def serve(
    config: ConfigOption = None,
    only: Annotated[
        str | None, typer.Option(help="Run only these roles, for example listener,courier.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from daemon.preflight.before_start import require_startable
    from daemon.supervise.service_manager import ServiceManager
    from daemon.supervise.supervisor import Supervisor, stop_on_signals
    from daemon.worker.role import RoleName, configure_logging

    settings = load_config(config)
    roles = _roles(only)
    configure_logging()
    log = logging.getLogger("supervisor")
    for warning in require_startable(settings, roles):
        log.warning("%s", warning)

    def on_ready(working: "Mapping[RoleName, float]") -> None:
        listener = settings.listener
        places = [", ".join(f"{role} {1000 * after:.0f} ms" for role, after in working.items())]
        if RoleName.LISTENER in working:
            places.append(f"{listener.ae_title} at {listener.host}:{listener.port}")
        if RoleName.WEB in working:
            token = f" (token: {settings.token_path})" if settings.web.token is None else ""
            places.append(f"status page {settings.web.url}{token}")
        typer.echo(f"cxrd is ready: {'; '.join(places)}. Research use only.", err=True)

    with stop_on_signals() as stop:
        manager = ServiceManager.of_environment()
        Supervisor(settings, roles, manager=manager).run(stop, on_ready)


def _roles(only: str | None) -> "list[RoleName]":
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
