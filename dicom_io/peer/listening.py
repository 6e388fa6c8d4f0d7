"""Error text for an address that cannot be listened on."""

import errno


def listen_problem(section: str, host: str, port: int, error: OSError) -> str:
    """Return the problem and its remedy; `section` names the part of the configuration."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use; stop the other program or choose another ({section})"
        )
    if error.errno == errno.EACCES:
        return (
            f"port {port} needs more rights than this user has; choose one above 1023 ({section})"
        )
    return f"cannot listen on {host}:{port} ({error.strerror}); check {section}.host"
