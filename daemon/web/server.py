"""Role: serves `app.py` over HTTP on loopback, over HTTPS to other machines."""

import logging
import ssl
import threading

import uvicorn
from starlette.types import ASGIApp

from daemon.audit.logins import LoginAudit
from daemon.config.tls import web_context
from daemon.errors import RoleFailedError
from daemon.web.access.roles import Role
from daemon.web.access.sessions import Authenticator
from daemon.web.access.token_file import load_token
from daemon.web.address import listening_socket
from daemon.web.app import build_app
from daemon.web.connection_limits import LimitedProtocol, RepeatFilter
from daemon.worker.role import RoleContext
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
            authenticator = Authenticator(load_token(config), Role.ADMIN, audit.on_login)
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
