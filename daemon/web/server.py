"""Role: serves `app.py` over HTTP on loopback, over HTTPS to other machines."""

import contextlib
import importlib
import logging
import ssl
import threading
from collections.abc import Sequence

import uvicorn
from starlette.types import ASGIApp

from daemon.audit.logins import LoginAudit
from daemon.config.sections.web import WebConfig
from daemon.config.settings import Config
from daemon.config.tls import web_context
from daemon.errors import RoleFailedError
from daemon.statistics.counter import FilmCounter
from daemon.statistics.drift_report import BaselineRule
from daemon.web.access.authenticator import Authenticator
from daemon.web.access.passwords import weak_hashes
from daemon.web.access.token_file import KnownToken, load_tokens, reach_of
from daemon.web.address import listening_socket
from daemon.web.app import build_app
from daemon.web.connection_limits import RepeatFilter, protocol_for
from daemon.web.films.readers import FilmReaders
from daemon.web.overview.totals import KeptTotals
from daemon.worker.logs.setup import silence_libraries
from daemon.worker.loop import switch_threads_often
from daemon.worker.role import RoleContext
from storage.errors import StorageError
from storage.files.places import open_spool
from storage.store import Store

log = logging.getLogger("web")
_repeat_filter = RepeatFilter()

POLL_SECONDS = 0.5
MAX_REQUEST_BYTES = 16 * 1024
"""Limit of a request's line and headers."""
LOADED_LATER = (
    "daemon.statistics.figures",
    "cxr_model.predict.card",
    "daemon.analyse.reader.decoder_pool",
    "daemon.web.films.pictures",
    "dicom_io.report.text",
)
"""Modules that their pages import at the first use, because they load numpy, OpenCV or pydicom."""
STORING = "daemon.web.dicomweb.storing"
"""The module of the first film that a client of DICOMweb stores."""
LATER_SECONDS = 3.0
"""Pause before each of them: the analyst loads its model meanwhile, and pages are answered."""
STOP_SECONDS = 2.0
"""Time to finish responses when the role stops."""


def run(context: RoleContext) -> None:
    """Serve requests until `context.stop` is set.

    Raises ConfigError or RoleFailedError if the address cannot be used, ConfigError or
    CertificateError if the token or certificate cannot be used.
    """
    config = context.config
    if config.dicomweb.clients:
        switch_threads_often()
    encryption = web_context(config)
    with listening_socket(config.web) as listening:
        min_free_bytes = config.spool.min_free_mb * 2**20
        spool = open_spool(config.spool_place, min_free_bytes)
        with (
            Store.open(config.resolved_database_url, migrate=False) as store,
            LoginAudit(store.audit) as audit,
        ):
            spool.expect(store.binding.spool_id())
            is_new_node = store.first_schema() is not None
            tokens = load_tokens(config, store.web_tokens, context.worker, is_new_node=is_new_node)
            _log_users(config.web, tokens[0])
            authenticator = Authenticator(tokens, config.web, store, audit.on_login)
            now = store.now
            counter = FilmCounter(store, now, _baseline_rule(config))
            readers = FilmReaders(config.analyst)
            totals = KeptTotals(store, now)
            app = build_app(
                config,
                store,
                spool,
                authenticator,
                now,
                counter,
                readers,
                totals,
                audit.on_login,
            )
            server = _server(app, config.web, encryption)
            # In another thread than the main one, uvicorn installs no signal handlers.
            thread = threading.Thread(
                target=server.run, args=([listening],), name="http", daemon=True
            )
            counting = threading.Thread(
                target=counter.run, args=(context.stop,), name="statistics", daemon=True
            )
            thread.start()
            context.ready()
            counting.start()
            modules = (*LOADED_LATER, *([STORING] if config.dicomweb.storing else []))
            threading.Thread(
                target=_warm_up, args=(totals, modules, context.stop), name="warm-up", daemon=True
            ).start()
            while not context.stop.wait(POLL_SECONDS):
                if not thread.is_alive():
                    raise RoleFailedError("the HTTP server ended by itself; the log says why")
            server.should_exit = True
            thread.join(STOP_SECONDS)
            counting.join(STOP_SECONDS)
            readers.close()


def _warm_up(totals: KeptTotals, modules: Sequence[str], stop: threading.Event) -> None:
    """Do what the first page would wait for, and load what the first film would wait for."""
    with contextlib.suppress(StorageError):  # The page says so itself.
        totals.totals()
    for module in modules:
        if stop.wait(LATER_SECONDS):
            return
        importlib.import_module(module)
    silence_libraries()


def _baseline_rule(config: Config) -> BaselineRule:
    section = config.statistics
    return BaselineRule(
        section.baseline_days,
        section.baseline_films,
        section.baseline_from,
        section.baseline_until,
    )


def _log_users(web: WebConfig, token: KnownToken) -> None:
    """Log the reach of the token, and the accounts whose hash should be made again."""
    log.info("%s", reach_of(token))
    weak = weak_hashes(web.accounts)
    if weak:
        log.warning(
            "web.accounts: the hash of %s is weaker than `cxrd web hash-password` makes it now:"
            " make a new one",
            ", ".join(weak),
        )


def _server(app: ASGIApp, web: WebConfig, encryption: ssl.SSLContext | None) -> uvicorn.Server:
    settings = uvicorn.Config(
        app,
        loop="daemon.web.connection_limits:HandshakeTimeoutLoop",
        http=protocol_for(web),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_REQUEST_BYTES,
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_repeat_filter)
    settings.load()
    settings.ssl = encryption
    return uvicorn.Server(settings)
