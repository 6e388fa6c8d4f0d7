"""Role: answers HTTP on loopback. See `app.py` for what it answers."""

import errno
import ipaddress
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from daemon.config import WebConfig
from daemon.errors import ConfigError, RoleFailedError
from daemon.role import RoleContext
from daemon.web.app import build_app
from storage.spool import Spool
from storage.store import Store

POLL_SECONDS = 0.5
STOP_SECONDS = 2.0
"""What answers under way are given to end when the role stops."""


def run(context: RoleContext) -> None:
    """Answer until told to stop.

    Raises ConfigError or RoleFailedError when the address cannot be listened on.
    """
    config = context.config
    with listening_socket(config.web) as listening:
        spool = Spool(config.spool_dir, min_free_bytes=config.spool.min_free_mb * 2**20)
        with Store.open(config.resolved_database_url, migrate=False) as store:
            server = _server(build_app(config, store, spool))
            # In a thread of its own uvicorn leaves this process's signal handlers alone.
            thread = threading.Thread(
                target=server.run, args=([listening],), name="http", daemon=True
            )
            thread.start()
            context.ready()
            while not context.stop.wait(POLL_SECONDS):
                if not thread.is_alive():
                    raise RoleFailedError("the HTTP server ended by itself; the log says why")
            server.should_exit = True
            thread.join(STOP_SECONDS)


def listening_socket(web: WebConfig) -> socket.socket:
    """A socket that listens where `web` says, on loopback only.

    Raises:
        ConfigError: the address could be reached from another machine.
        RoleFailedError: it cannot be listened on.
    """
    listening = None
    try:
        family, address = _resolve(web)
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConfigError(
                f"web.host {web.host} can be reached from other machines, and the status page has"
                " no login in this version: set web.host to 127.0.0.1, and reach it through an SSH"
                " tunnel or a reverse proxy that asks for one"
            )
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if listening is not None:
            listening.close()
        raise RoleFailedError(_address_problem(web, error)) from error
    return listening


def _resolve(web: WebConfig) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), web.port)


def _address_problem(web: WebConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {web.port} on {web.host} is in use; stop the other program or set web.port"
    if error.errno == errno.EACCES:
        return f"port {web.port} needs more rights than this user has; set web.port above 1023"
    return f"cannot listen on {web.host}:{web.port} ({error.strerror}); check web.host"


def _server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )
