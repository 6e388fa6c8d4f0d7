"""The address of the web role: loopback, or prepared for other machines."""

import ipaddress
import socket

from daemon.config.sections.web import WebConfig
from daemon.errors import ConfigError, RoleFailedError
from dicom_io.peer.listening import listen_problem


def listening_socket(web: WebConfig) -> socket.socket:
    """Return a socket that listens at the configured address.

    Raises:
        ConfigError: other machines can reach the address, but TLS or allowed_hosts is not set.
        RoleFailedError: the address cannot be used.
    """
    listening = None
    try:
        family, address = _resolve(web)
        _require_private(web, address[0])
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        if listening is not None:
            listening.close()
        raise RoleFailedError(listen_problem("web", web.host, web.port, error)) from error
    return listening


def require_private(web: WebConfig) -> None:
    """Raise ConfigError if other machines can reach the address and the page is not prepared.

    Raises RoleFailedError if the address is unknown.
    """
    try:
        _, address = _resolve(web)
    except OSError as error:
        raise RoleFailedError(listen_problem("web", web.host, web.port, error)) from error
    _require_private(web, address[0])


def _require_private(web: WebConfig, address: str) -> None:
    if ipaddress.ip_address(address).is_loopback:
        return
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
