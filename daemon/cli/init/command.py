"""`cxrd init`: writes a configuration from a few answers."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.init.questions import Questions
from daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.config.settings import Config
    from daemon.setup.answers import Pacs, WebAccess

_THIS_MACHINE, _ALL_ADDRESSES = "127.0.0.1", "0.0.0.0"  # noqa: S104 - offered, not bound


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of config.yaml; default: this one.")] = (
        Path()
    ),
    ae_title: Annotated[str | None, typer.Option(help="AE title of this node.")] = None,
    pacs_ae_title: Annotated[str | None, typer.Option(help="AE title of the PACS.")] = None,
    pacs_host: Annotated[str | None, typer.Option(help="Host of the PACS.")] = None,
    pacs_port: Annotated[str | None, typer.Option(help="DICOM port of the PACS.")] = None,
    pacs_sends: Annotated[
        bool | None, typer.Option(help="The PACS sends films to this node.")
    ] = None,
    pacs_receives: Annotated[
        bool | None, typer.Option(help="The PACS receives reports and heatmaps.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on for DICOM.")] = None,
    port: Annotated[str | None, typer.Option(help="DICOM port of this node.")] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder for images, results and the queue.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="PostgreSQL instead of SQLite in the data folder.")
    ] = None,
    web_host: Annotated[str | None, typer.Option(help="Address of the web pages.")] = None,
    web_port: Annotated[str | None, typer.Option(help="Port of the web pages.")] = None,
    web_certificate: Annotated[
        str | None, typer.Option(help="Certificate of the web pages, as a PEM file.")
    ] = None,
    web_key: Annotated[str | None, typer.Option(help="Key of that certificate.")] = None,
    web_name: Annotated[
        list[str] | None, typer.Option(help="Name by which browsers open the pages; repeatable.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: defaults where no option is given.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a config.yaml.")] = False,
) -> None:
    """Ask a few questions and write config.yaml, complete and commented, into FOLDER."""
    from daemon.setup.answers import (
        LOCAL,
        Answers,
        checked_ae_title,
        checked_file,
        checked_host,
        free_port,
    )
    from daemon.setup.write_config import require_new, write_config
    from daemon.worker.role import RoleName

    require_new(folder, force=force)
    asked = Questions(ask=not yes)
    title = asked.text("--ae-title", ae_title, "AE title of this node", "CXRD", checked_ae_title)
    pacs = _pacs(asked, pacs_ae_title, pacs_host, pacs_port, pacs_sends, pacs_receives)
    is_local = pacs is None or pacs.host in LOCAL
    address = asked.text(
        "--host",
        host,
        f"Address to listen on; {_THIS_MACHINE}: this machine alone, {_ALL_ADDRESSES}: all",
        _THIS_MACHINE if is_local else _ALL_ADDRESSES,
        checked_host,
    )
    is_free = free_port(address, RoleName.LISTENER, may_run=force)
    listened = asked.text("--port", port, "DICOM port", "11112", is_free)
    answers = Answers(
        ae_title=title,
        host=address,
        port=listened,
        data_dir=asked.text(
            "--data-dir", data_dir, "Folder for images, results and the queue", "data", _named
        ),
        web=_web(
            asked,
            _WebOptions(web_host, web_port, web_certificate, web_key, tuple(web_name or ())),
            checked_file(folder.resolve()),
            lambda host: free_port(
                host, RoleName.WEB, used=listened if host == address else None, may_run=force
            ),
        ),
        pacs=pacs,
        database_url=database_url,
    )
    config, warnings = write_config(folder, answers, force=force)
    for warning in warnings:
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(f"Wrote {config.file}.")
    _show_next(config, folder, pacs)


def _pacs(
    asked: Questions,
    title: str | None,
    host: str | None,
    port: str | None,
    sends: bool | None,
    receives: bool | None,
) -> "Pacs | None":
    """Return the PACS; None if no option and no answer names one."""
    from daemon.setup.answers import (
        Pacs,
        checked_ae_title,
        checked_peer_host,
        checked_port,
        is_known,
    )

    is_given = any(one is not None for one in (title, host, port, sends, receives))
    if not asked.choice(True if is_given else None, "Connect a PACS now?", default=asked.asks):
        return None
    peer = Pacs(
        ae_title=asked.text(
            "--pacs-ae-title", title, "AE title of the PACS", None, checked_ae_title
        ),
        host=asked.text(
            "--pacs-host", host, "Host or address of the PACS", None, checked_peer_host
        ),
        port=asked.text("--pacs-port", port, "DICOM port of the PACS", "104", checked_port),
        sends=asked.choice(sends, "Does it send films to this node?", default=True),
        receives=asked.choice(receives, "Does it receive reports and heatmaps?", default=True),
    )
    if not peer.sends and not peer.receives:
        raise UsageError("a PACS that neither sends nor receives has no part here: leave it out")
    if not is_known(peer.host):
        typer.echo(f"Warning: this machine knows no host {peer.host} now", err=True)
    return peer


@dataclass(frozen=True, slots=True)
class _WebOptions:
    """The options of the web pages, as they were given."""

    host: str | None
    port: str | None
    certificate: str | None
    key: str | None
    names: tuple[str, ...]


def _web(
    asked: Questions,
    given: _WebOptions,
    is_file: "Callable[[str], str]",
    is_free: "Callable[[str], Callable[[str], int]]",
) -> "WebAccess":
    """Return the access to the pages; `is_free` returns the check of a port at an address."""
    from daemon.setup.answers import LOCAL, WebAccess, checked_host

    host = given.host
    if host is None and asked.choice(
        None, "May other machines open the web pages? It needs a certificate.", default=False
    ):
        host = _ALL_ADDRESSES
    address = asked.text("--web-host", host or _THIS_MACHINE, "", None, checked_host)
    port = asked.text("--web-port", given.port, "Port of the web pages", "8080", is_free(address))
    if address in LOCAL and given.certificate is None and given.key is None:
        return WebAccess(address, port, names=given.names)
    return WebAccess(
        address,
        port,
        asked.text("--web-certificate", given.certificate, "Certificate (PEM file)", None, is_file),
        asked.text("--web-key", given.key, "Its key (PEM file)", None, is_file),
        given.names
        or (asked.text("--web-name", None, "Name that browsers use", _own_name(), _named),),
    )


def _own_name() -> str:
    import socket

    return socket.getfqdn()


def _named(text: str) -> str:
    if not text.strip():
        raise UsageError("is empty; name one")
    return text.strip()


def _show_next(config: "Config", folder: Path, pacs: "Pacs | None") -> None:
    """Print the steps that follow, as commands for the folder of the caller."""
    listener = config.listener
    is_here = folder.resolve() == Path.cwd()
    option = "" if is_here else f" --config {shlex.quote(os.path.relpath(config.file or folder))}"
    steps = [f"cxrd check{option}   # finds what is missing, here and at the PACS"]
    if pacs is not None:
        steps.append(
            f"In the PACS, register the AE title {listener.ae_title} at this machine's address,"
            f" port {listener.port}."
        )
    reached = "127.0.0.1" if listener.host in ("0.0.0.0", "::") else listener.host  # noqa: S104
    steps += [
        f"cxrd serve{option}",
        f"storescu -aec {shlex.quote(listener.ae_title)} {reached} {listener.port} FILM.dcm"
        "   # sends a film",
        f"Open {config.web.url} and log in with the token in {config.token_path}.",
    ]
    typer.echo("Next:")
    for number, step in enumerate(steps, 1):
        typer.echo(f"  {number}. {step}")
    typer.echo("RESEARCH USE ONLY: not for diagnosis.")
