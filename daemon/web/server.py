"""Role: answers HTTP, and beyond this machine HTTPS. See `app.py` for what it answers."""

import errno
import ipaddress
import logging
import socket
import ssl
import threading

import uvicorn
from starlette.types import ASGIApp

from daemon.audit.logins import LoginAudit
from daemon.config.fields import WebConfig
from daemon.config.tls import web_context
from daemon.errors import ConfigError, RoleFailedError
from daemon.web.app import build_app
from daemon.web.connection_limits import PatientProtocol, Seldom
from daemon.web.sessions import Access, token_of
from daemon.worker.role import RoleContext
from storage.files.spool import Spool
from storage.store import Store

_SELDOM = Seldom()

POLL_SECONDS = 0.5

MAX_CONNECTIONS = 64

MAX_REQUEST_BYTES = 16 * 1024
"""Of a request's line and headers."""

STOP_SECONDS = 2.0
"""What answers under way are given to end when the role stops."""


def run(context: RoleContext) -> None:
    """Answer until told to stop.

    Raises ConfigError or RoleFailedError when the address cannot be listened on, ConfigError or
    CertificateError when token or certificate cannot be used.
    """
    config = context.config
    encryption = web_context(config)
    with listening_socket(config.web) as listening:
        min_free_bytes = config.spool.min_free_mb * 2**20
        spool = Spool(config.spool_dir, min_free_bytes, create=False)
        with (
            Store.open(config.resolved_database_url, migrate=False) as store,
            LoginAudit(store.audit) as audit,
        ):
            access = Access(token_of(config), audit.on_login)
            server = _server(build_app(config, store, spool, access), encryption)
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
    """A socket that listens where `web` says.

    Raises:
        ConfigError: another machine could reach the address, and would send the token in clear.
        RoleFailedError: it cannot be listened on.
    """
    listening = None
    try:
        family, address = _resolve(web)
        if not ipaddress.ip_address(address[0]).is_loopback:
            _check_reachable(web)
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if listening is not None:
            listening.close()
        raise RoleFailedError(_address_problem(web, error)) from error
    return listening


def _check_reachable(web: WebConfig) -> None:
    if web.certificate is None:
        raise ConfigError(
            f"web.host {web.host} can be reached from other machines, and the token would cross"
            " the network in clear: set web.certificate and web.key, or web.host to 127.0.0.1"
        )
    if not web.names:
        raise ConfigError(
            f"web.host {web.host} is no name a browser can ask for: list the names of this machine"
            " under web.allowed_hosts"
        )


def _resolve(web: WebConfig) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), web.port)


def _address_problem(web: WebConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {web.port} on {web.host} is in use; stop the other program or set web.port"
    if error.errno == errno.EACCES:
        return f"port {web.port} needs more rights than this user has; set web.port above 1023"
    return f"cannot listen on {web.host}:{web.port} ({error.strerror}); check web.host"


def _server(app: ASGIApp, encryption: ssl.SSLContext | None) -> uvicorn.Server:
    settings = uvicorn.Config(
        app,
        loop="daemon.web.connection_limits:PatientLoop",
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_REQUEST_BYTES,
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_SELDOM)
    settings.load()
    settings.ssl = encryption
    return uvicorn.Server(settings)
