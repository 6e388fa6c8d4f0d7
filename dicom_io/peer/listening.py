"""Error text for an address that cannot be listened on."""

import errno

_ANOTHER_PORT = {
    "listener": "choose another listener.port or tls_port",
    "web": "set web.port",
    "hl7": "set hl7.port",
}
_HIGH_PORT = {
    "listener": "choose a listener.port above 1023",
    "web": "set web.port above 1023",
    "hl7": "set hl7.port above 1023",
}


def listen_problem(section: str, host: str, port: int, error: OSError) -> str:
    """Return the problem and its remedy.

    `section` is the section of the configuration: listener, web or hl7. The audit trail holds this
    text if the role cannot start.
    """
    if error.errno == errno.EADDRINUSE:
        remedy = f"stop the other program or {_ANOTHER_PORT[section]}"
        return f"port {port} on {host} is in use; {remedy}"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; {_HIGH_PORT[section]}"
    place = f"[{host}]" if ":" in host else host
    return f"cannot listen on {place}:{port} ({error.strerror}); check {section}.host"
