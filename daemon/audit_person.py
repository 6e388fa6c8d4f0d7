"""The person at the terminal, as the audit trail names them."""

import getpass
import os


def current_user() -> str:
    """The account this process runs under; its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
