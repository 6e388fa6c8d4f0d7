"""Role: serves `app.py` over HTTP on loopback, over HTTPS to other machines."""

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
from daemon.web.connection_limits import LimitedProtocol, RepeatFilter
from daemon.web.sessions import Authenticator, load_token
from daemon.worker.role import RoleContext
from dicom_io.peer.listening import listen_problem
from storage.files.spool import Spool
from storage.store import Store

_repeat_filter = RepeatFilter()

POLL_SECONDS = 0.5
MAX_CONNECTIONS = 64
MAX_REQUEST_BYTES = 16 * 1024
"""Limit of a request's line and headers."""
STOP_SECONDS = 2.0
"""Time to finish responses when the role stops."""


def run(context: RoleContext) -> None:
    """Serve requests until `context.stop` is set.

    Raises ConfigError or RoleFailedError if the address cannot be used, ConfigError or
    CertificateError if the token or certificate cannot be used.
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
            authenticator = Authenticator(load_token(config), audit.on_login)
            server = _server(build_app(config, store, spool, authenticator), encryption)
            # In another thread than the main one, uvicorn installs no signal handlers.
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
    """Return a socket that listens at the configured address.

    Raises:
        ConfigError: other machines can reach the address, but TLS or allowed_hosts is not set.
        RoleFailedError: the address cannot be used.
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
        raise RoleFailedError(listen_problem("web", web.host, web.port, error)) from error
    return listening


def _check_reachable(web: WebConfig) -> None:
    if web.certificate is None:
        raise ConfigError(
            f"web.host {web.host} can be reached from other machines, and the token would cross"
            " the network in clear: set web.certificate and web.key, or web.host to 127.0.0.1"
        )
    if not web.names:
        raise ConfigError(
            f"web.host {web.host} is no name for a browser's address bar: list the names of this"
            " machine under web.allowed_hosts"
        )


def _resolve(web: WebConfig) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), web.port)


def _server(app: ASGIApp, encryption: ssl.SSLContext | None) -> uvicorn.Server:
    settings = uvicorn.Config(
        app,
        loop="daemon.web.connection_limits:HandshakeTimeoutLoop",
        http=LimitedProtocol,
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
    logging.getLogger("uvicorn.error").addFilter(_repeat_filter)
    settings.load()
    settings.ssl = encryption
    return uvicorn.Server(settings)
