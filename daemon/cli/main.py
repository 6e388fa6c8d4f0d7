"""The commands. No logic: each reads its options, calls one room and prints the result.

A command imports the rooms it needs inside its function, so that `cxrd export` loads no network.
"""

import datetime
import itertools
import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.audit import audit_app
from daemon.cli.jobs import jobs_app
from daemon.cli.model import model_app
from daemon.cli.options import ConfigOption, JsonOption, SinceOption, UntilOption, print_json
from daemon.cli.store import store_app
from daemon.cli.studies import studies_app
from daemon.config.permissions import write_privately
from daemon.config.settings import load_config
from daemon.errors import ROOM_ERRORS, UsageError
from daemon.worker.core_dumps import forbid_core_dumps
from daemon.worker.role import RoleName
from dicom_io.gate.rules import PictureRule, Rules

app = typer.Typer(
    name="cxrd",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="A DICOM node that reads chest X-rays and answers with Structured Reports and heatmaps. "
    "RESEARCH USE ONLY: not for diagnosis.",
)
app.add_typer(jobs_app, name="jobs")
app.add_typer(model_app, name="model")
app.add_typer(audit_app, name="audit")
app.add_typer(studies_app, name="studies")
app.add_typer(store_app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxrd {version('cxrd')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Read the options before the command."""


def main() -> None:
    """Run a command; print an error as one line on stderr, without a traceback."""
    write_privately()
    forbid_core_dumps()
    try:
        app(prog_name="cxrd")
    except ROOM_ERRORS as error:
        typer.echo(f"cxrd: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        # An unwritable folder or a full disk is a fault of the environment, not a bug.
        if error.strerror is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"cxrd: {place}{error.strerror}", err=True)
        sys.exit(1)


@app.command()
def serve(
    config: ConfigOption = None,
    only: Annotated[
        str | None, typer.Option(help="Run only these roles, for example listener,courier.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from daemon.supervisor import Supervisor, stop_on_signals
    from daemon.worker.role import configure_logging

    settings = load_config(config)
    roles = _roles(only)
    configure_logging()

    def on_ready(working: Sequence[RoleName]) -> None:
        listener = settings.listener
        places = [", ".join(working)]
        if RoleName.LISTENER in working:
            places.append(f"{listener.ae_title} at {listener.host}:{listener.port}")
        if RoleName.WEB in working:
            token = f" (token: {settings.token_path})" if settings.web.token is None else ""
            places.append(f"status page {settings.web.url}{token}")
        typer.echo(f"cxrd is ready: {'; '.join(places)}. Research use only.", err=True)

    with stop_on_signals() as stop:
        Supervisor(settings, roles).run(stop, on_ready)


def _roles(only: str | None) -> list[RoleName]:
    if only is None:
        return list(RoleName)
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [role.value for role in RoleName]
    for name in names:
        if name not in known:
            raise UsageError(
                f"--only: no role is called {name!r}; the roles are {', '.join(known)}"
            )
    if not names:
        raise UsageError(f"--only: name at least one of {', '.join(known)}")
    return [role for role in RoleName if role.value in names]


@app.command()
def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(help="DICOM files to send; default: synthetic films.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: a temporary one.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle; default: the starter.")] = None,
) -> None:
    """Run the whole loop on this machine: a temporary PACS, the daemon, images and the report."""
    from daemon.demo import run_demo

    run_demo(files or [], keep, bundle, typer.echo)


@app.command()
def check(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Check all that `serve` needs: this host, each destination, the model; start nothing."""
    from daemon.preflight.checks import run_checks
    from daemon.preflight.result import CheckResult

    settings = load_config(config)
    results = []
    valid = CheckResult("configuration", True, "valid")
    for result in itertools.chain((valid,), run_checks(settings)):
        results.append(result)
        if not as_json:
            typer.echo(f"{result.word:<7} {result.name}: {result.detail}")
    failed = sum(not result.passed for result in results)
    if as_json:
        lines = [
            {"name": one.name, "result": one.word.lower(), "detail": one.detail} for one in results
        ]
        print_json({"ok": not failed, "checks": lines})
    if failed:
        raise UsageError(f"{failed} check(s) failed; see above")


@app.command()
def analyse(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files or directories of DICOM objects (also gzipped) and pictures."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the report, the heatmaps and the dashboard.")
    ],
    no_identifiers: Annotated[
        bool,
        typer.Option(
            "--no-identifiers",
            help="Leave Patient ID, UIDs and accession number out of the report. "
            "File names stay, and may identify.",
        ),
    ] = False,
    picture_check: Annotated[
        PictureRule,
        typer.Option(
            help="A picture that is no frontal chest film is refused, analysed with a note, "
            "or analysed unchecked.",
        ),
    ] = PictureRule.REFUSE,
    config: ConfigOption = None,
) -> None:
    """Analyse files or directories into OUT: final_clinical_report.csv, heatmaps/, dashboard.html.

    Run the command again to resume an interrupted run.
    """
    from daemon.analyse.decoder_pool import DecoderLimits
    from daemon.batch.analyse_files import analyse_files

    settings = load_config(config)
    summary = analyse_files(
        paths,
        out,
        settings.model,
        identifiers=not no_identifiers,
        limits=DecoderLimits.of(settings.analyst),
        rules=Rules(picture_check=picture_check),
        now=datetime.datetime.now(datetime.UTC),
        echo=lambda line: typer.echo(line, err=True),
    )
    typer.echo(str(summary))
    if summary.unreadable:
        raise UsageError(
            f"{summary.unreadable} file(s) could not be read; see their rows for the reason"
        )
    if not summary.analysed + summary.refused:
        raise UsageError("no image found; the rows of the report say what each file is")


class ExportStatus(StrEnum):
    """Values of `--status`."""

    RECEIVED = "received"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    since: SinceOption = None,
    until: UntilOption = None,
    study: Annotated[str | None, typer.Option(help="Only this Study Instance UID.")] = None,
    status: Annotated[ExportStatus | None, typer.Option(help="Only images in this state.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write the audit report: one CSV row per received image."""
    from cxr_model.findings import LABELS
    from daemon.audit.export import recorded
    from storage.audit.records import AuditKind
    from storage.export import ExportFilter
    from storage.records import InstanceState
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        rows = ExportFilter(
            since=since,
            until=until,
            study_instance_uid=study,
            state=InstanceState(status) if status else None,
        )
        write = partial(store.export.write_csv, out, LABELS, rows)
        written = recorded(store, AuditKind.DATA_EXPORTED, out, write)
    if as_json:
        print_json({"file": str(out), "rows": written})
        return
    typer.echo(f"{written} row(s) in {out}. Research use only.")
