"""`cxrd web`: accounts of the web pages. No logic."""

import getpass
import sys

import typer

from daemon.errors import UsageError

web_app = typer.Typer()


@web_app.callback()
def _group() -> None:
    """Make a group of the only command."""


@web_app.command("hash-password")
def hash_password() -> None:
    """Print the hash of a password for web.accounts; it is asked for, or read from stdin."""
    from daemon.web.access.passwords import hash_password as hashed

    typer.echo(hashed(_asked() if sys.stdin.isatty() else _piped()))


def _asked() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("Repeat the password: ") != password:
        raise UsageError("the two passwords differ")
    return password


def _piped() -> str:
    try:
        password, *more = sys.stdin.read().splitlines() or [""]
    except UnicodeDecodeError:
        raise UsageError("the password on stdin is not UTF-8") from None
    if more:
        raise UsageError("stdin must hold one line, the password")
    return password
