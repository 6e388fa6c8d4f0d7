"""Finds the client of a DICOMweb request: by its token, its certificate, or its address alone."""

import hmac
import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

from daemon.audit.logins import LoginOutcome
from daemon.audit.repeats import MOST_HOSTS, counted_client
from daemon.config.partners.dicomweb import DicomwebClientConfig, DicomwebConfig
from daemon.errors import ConfigError
from daemon.web.access.authenticator import REPORT_SECONDS, OnLogin
from daemon.web.access.sessions import digest_of
from daemon.web.access.throttle import FailureCount
from daemon.web.access.token_file import token_from_file

NOT_FROM_HERE = "known, but not from this address"


class UnknownClientError(Exception):
    """The request is of no client; `wait_seconds` is 0 unless its host failed too often."""

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class _Known:
    config: DicomwebClientConfig
    digest: bytes | None


class Clients:
    """The clients of the configuration. Runs on the event loop only; no method blocks."""

    def __init__(
        self,
        config: DicomwebConfig,
        on_login: OnLogin,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError for a token that is unreadable, too short or given twice."""
        self._known = tuple(_known(config.clients))
        self._on_login = on_login
        self._now = monotonic
        self._failures = FailureCount(MOST_HOSTS, monotonic)
        self._reported: dict[tuple[str, str], float] = {}

    def find(self, headers: Headers, host: str, certificate: str = "") -> DicomwebClientConfig:
        """Return the client of a request.

        `certificate` is the SHA-256 of the certificate that the caller showed, or empty. A token
        decides before a certificate, a certificate before an address. The right token is always
        accepted. Raises UnknownClientError.
        """
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if headers.get("authorization"):
            token = offered.strip() if scheme.lower() == "bearer" else ""
            found = self._by_token(token)
        elif certificate:
            found = self._by_certificate(certificate)
        else:
            found = None
        if found is None and not headers.get("authorization"):
            found = self._by_address(host)
        if found is None:
            raise self._refused(headers, host, certificate)
        if found.networks and not _is_in(host, found):
            self._report(host, found.name, LoginOutcome.REFUSED)
            raise UnknownClientError(f"this client is {NOT_FROM_HERE}")
        self._report(host, found.name, LoginOutcome.BEARER)
        return found

    def _by_token(self, token: str) -> DicomwebClientConfig | None:
        digest = digest_of(token)
        # Every token is compared, so that the time does not tell which it was.
        found = [
            known.config
            for known in self._known
            if known.digest is not None and hmac.compare_digest(digest, known.digest)
        ]
        return found[0] if found else None

    def _by_certificate(self, certificate: str) -> DicomwebClientConfig | None:
        for known in self._known:
            if certificate in known.config.certificate_sha256:
                return known.config
        return None

    def _by_address(self, host: str) -> DicomwebClientConfig | None:
        for known in self._known:
            if not known.config.has_secret and _is_in(host, known.config):
                return known.config
        return None

    def _refused(self, headers: Headers, host: str, certificate: str) -> UnknownClientError:
        if not headers.get("authorization") and not certificate:
            return UnknownClientError("a token is needed: Authorization: Bearer TOKEN")
        wait = self._failures.wait(host)
        if not wait:
            self._failures.add(host)
        outcome = LoginOutcome.THROTTLED if wait else LoginOutcome.REFUSED
        self._on_login(host, outcome, "")
        return UnknownClientError("the token or certificate is of no client", wait)

    def _report(self, host: str, name: str, outcome: LoginOutcome) -> None:
        """Report a client's first request from an address in an hour."""
        now = self._now()
        self._reported = {key: end for key, end in self._reported.items() if end > now}
        key = (counted_client(host, {client for client, _ in self._reported}), f"{name} {outcome}")
        if key not in self._reported:
            self._reported[key] = now + REPORT_SECONDS
            self._on_login(host, outcome, name)


def check_clients(config: DicomwebConfig) -> None:
    """Raise ConfigError for a token that is unreadable, too short or given twice."""
    list(_known(config.clients))


def _known(clients: Sequence[DicomwebClientConfig]) -> Sequence[_Known]:
    found: dict[str, _Known] = {}
    owners: dict[bytes, str] = {}
    for client in clients:
        token = client.token
        if client.token_file is not None:
            token = token_from_file(client.token_file)
        digest = None if token is None else digest_of(token.get_secret_value())
        if digest is not None and owners.setdefault(digest, client.name) != client.name:
            raise ConfigError(
                f"dicomweb.clients: {owners[digest]!r} and {client.name!r} have the same token:"
                " make another for one of them"
            )
        found[client.name] = _Known(client, digest)
    return tuple(found.values())


def _is_in(host: str, client: DicomwebClientConfig) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(
        address.version == network.version and address in network for network in client.networks
    )
