"""The user of a command, as the audit trail names them."""

import os
import pwd


def current_user() -> str:
    """Return the account name of this process; its number if it has no name.

    The environment (LOGNAME) is not used: it may name another account.
    """
    user = os.getuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
