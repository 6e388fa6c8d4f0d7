"""Test connection that explains a TLS failure, which a failed association does not."""

import socket
import ssl
from dataclasses import dataclass

from dicom_io.peer.tls import Certificate, peer_certificate

_ALERT_SECONDS = 0.5
"""A TLS 1.3 server refuses a client certificate only after the handshake."""

_NAME_MISMATCHES = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""

_VERIFY_HINTS = {
    9: "its certificate is not valid yet; check the clocks of both machines",
    10: "its certificate has expired; it has to be renewed there",
    18: "its certificate is signed by itself; add it to tls.ca if it is the right one",
    19: "its CA is not known here; add the CA's certificate to tls.ca",
    20: "its CA is not known here; add the CA's certificate to tls.ca",
    21: "its CA is not known here; add the CA's certificate to tls.ca",
    23: "its certificate has been revoked",
    26: "its certificate may not be used by a server; it has to be issued with serverAuth",
}
_ALERT_HINTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a client certificate; set tls.certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the CA of this node's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses this node's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that this node's certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses this node's certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "it takes none of the cipher suites of PS3.15 B.12, or wants a client certificate"
    ),
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.2 or later",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.2 or later",
    "WRONG_VERSION_NUMBER": "it speaks no TLS on this port; set tls: false, or name its TLS port",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """TLS version and certificate of a connection; `problem` is the error of a failed one."""

    problem: str | None
    version: str = ""
    certificate: Certificate | None = None


def probe(host: str, port: int, context: ssl.SSLContext, seconds: float) -> Probe:
    """Open a TLS connection, wait shortly for a refusal and close it; return any error."""
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            found = Probe(None, connection.version() or "", peer_certificate(connection))
            connection.settimeout(_ALERT_SECONDS)
            try:
                closed = not connection.recv(1)
            except TimeoutError:
                return found
            return Probe("it ends the TLS connection at once; see its log") if closed else found
    except OSError as error:
        return Probe(problem_of(error, host, seconds))


def problem_of(error: OSError, host: str, seconds: float) -> str:
    """Return the problem of a TLS connection to a host that failed, and its remedy.

    `seconds` is the timeout of the handshake.
    """
    match error:
        case ssl.SSLCertVerificationError():
            return _verification(error, host)
        case ConnectionResetError() | BrokenPipeError() | ssl.SSLEOFError():
            return (
                "it ended the connection at the TLS handshake; if it speaks no TLS on this port,"
                " set tls: false, or name its TLS port"
            )
        case ssl.SSLError():
            return _ALERT_HINTS.get(error.reason or "", f"no TLS ({error.reason or error})")
        case TimeoutError():
            return f"no answer to the TLS handshake within {seconds:.0f} s"
        case _:
            return f"the connection failed ({error.strerror or error})"


def _verification(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in _NAME_MISMATCHES:
        return (
            f"its certificate is not for {host}; set host to a name in it,"
            " or issue it with this one as subjectAltName"
        )
    return _VERIFY_HINTS.get(
        error.verify_code, f"its certificate is refused ({error.verify_message})"
    )
