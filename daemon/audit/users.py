"""The person at the terminal, as the audit trail names them."""

import os
import pwd


def current_user() -> str:
    """The account this process runs under; its number where it has no name.

    Of the account itself: the environment may name another one.
    """
    user = os.getuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
