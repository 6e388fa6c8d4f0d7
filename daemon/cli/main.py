"""The commands. No logic: each reads its options, calls one room and prints the result.

A command imports the rooms it needs inside its function, so that `cxrd export` loads no network.
"""

import contextlib
import datetime
import functools
import importlib
import itertools
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from daemon.cli.init.command import init
from daemon.cli.node.pull import pull
from daemon.cli.node.show import show
from daemon.cli.node.status import status
from daemon.cli.node.store import upkeep_app
from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    RolesOption,
    SinceOption,
    UntilOption,
    load_config,
    print_json,
)
from daemon.cli.progress import echo_beside, progress_bar, progress_of, waiting
from daemon.cli.serve import roles_of, serve
from daemon.cli.tables import print_paragraph, print_text
from daemon.errors import ROOM_ERRORS, UsageError
from daemon.worker.core_dumps import forbid_core_dumps
from dicom_io.gate.rules import PictureRule, Rules

if TYPE_CHECKING:
    from daemon.preflight.result import CheckResult

_GROUPS = {
    "jobs": "The queue and its parked jobs.",
    "model": "Model bundles: show, train, calibrate, thresholds, evaluate, import. "
    "Research use only.",
    "audit": "The audit trail.",
    "studies": "The studies in doubt, of which nothing leaves.",
    "store": "The store: its spool, and its move to another database.",
    "web": "The accounts of the web pages.",
}
"""The groups of commands: GROUP is `GROUP_app` of `daemon/cli/GROUP.py`."""


def _commands_of(name: str) -> type[TyperGroup]:
    """Return the class of a group that imports its commands when one is listed or run."""

    class Group(TyperGroup):
        @functools.cached_property
        def _imported(self) -> Any:
            module = importlib.import_module(f"daemon.cli.{name}")
            return typer.main.get_group(getattr(module, f"{name}_app")).commands

        @property
        def commands(self) -> Any:
            return self._imported

        @commands.setter
        def commands(self, _: Any) -> None:
            """Leave out the commands of the Typer object in `main`, which has none."""

    return Group


# Packages that `serve`, `analyse` and `check` do without.
_OPTIONAL_PACKAGES = frozenset({"torch", "torchvision", "pandas", "sklearn"})

app = typer.Typer(
    name="cxrd",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="A DICOM node that reads chest X-rays and answers with Structured Reports and heatmaps. "
    "RESEARCH USE ONLY: not for diagnosis.",
)
for name, help_text in _GROUPS.items():
    group = typer.Typer(cls=_commands_of(name), no_args_is_help=True, help=help_text)
    app.add_typer(group, name=name)
app.add_typer(upkeep_app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from daemon.version import version_line

        typer.echo(version_line())
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
    # Files of this process and its children: 0600, folders 0700.
    os.umask(0o077)
    forbid_core_dumps()
    try:
        app(prog_name="cxrd")
    except ROOM_ERRORS as error:
        typer.echo(f"cxrd: {error}", err=True)
        sys.exit(1)
    except UnicodeEncodeError:
        # Python keeps bytes of an argument that are no UTF-8, and a store takes none of them.
        strange = [each for each in sys.argv if not _is_text(each)]
        if not strange:
            raise
        typer.echo(f"cxrd: {strange[0]!a} is not text in UTF-8: write it so", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        # A serving installation has no packages that only training, import and measuring need.
        package = (error.name or "").partition(".")[0]
        if package not in _OPTIONAL_PACKAGES:
            raise
        typer.echo(
            f"cxrd: this command needs {package}, which is not installed here: "
            "pip install cxrd with all its dependencies",
            err=True,
        )
        sys.exit(1)
    except OSError as error:
        # An unwritable folder or a full disk is a fault of the environment, not a bug.
        if error.strerror is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"cxrd: {place}{error.strerror}", err=True)
        sys.exit(1)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


app.command()(init)
app.command()(serve)
app.command()(status)
app.command()(show)
app.command()(pull)


@app.command()
def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(help="DICOM files to send; default: synthetic films.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for the results; default: a temporary one.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Model bundle; default: the starter.")] = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="End at once; without it the pages stay up until Enter."),
    ] = False,
) -> None:
    """Run the whole loop on this machine: a temporary PACS, the daemon, images and the report.

    On a terminal the pages of the demo stay up until Enter is pressed.
    """
    from daemon.demo import run_demo

    is_attended = sys.stdin.isatty() and sys.stdout.isatty() and not no_wait
    wait = wait_for_enter if is_attended else None
    run_demo(files or [], keep, bundle, print_text, busy=waiting, wait=wait)


def wait_for_enter() -> None:
    """Return when Enter, the end of the input or Ctrl-C comes."""
    typer.echo("Press Enter to end the demo. ", nl=False)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        input()
    typer.echo("\nThe demo ends.")


@app.command()
def check(
    as_json: JsonOption = False,
    config: ConfigOption = None,
    only: RolesOption = None,
) -> None:
    """Check all that `serve` needs: this host, each destination, the model; start nothing."""
    from daemon.preflight.checks import run_checks
    from daemon.preflight.result import CheckResult

    settings = load_config(config)
    results = []
    detail = "valid" if settings.file else "no config.yaml in this folder: the defaults"
    valid = CheckResult("configuration", True, detail)
    checks = itertools.chain((valid,), run_checks(settings, roles_of(only) if only else None))
    while (result := _next_check(checks)) is not None:
        results.append(result)
        if not as_json:
            print_paragraph(f"{result.word:<7} {result.name}: {result.detail}", 8)
    failed = sum(not result.passed for result in results)
    if as_json:
        lines = [
            {"name": one.name, "result": one.word.lower(), "detail": one.detail} for one in results
        ]
        print_json({"ok": not failed, "checks": lines})
    if failed:
        raise UsageError(f"{failed} check(s) failed; see above")


def _next_check(checks: "Iterator[CheckResult]") -> "CheckResult | None":
    with waiting("checking"):
        return next(checks, None)


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
    picture_max_side: Annotated[
        int,
        typer.Option(
            min=0,
            help="Most pixels on the longer side of the film in a heatmap; 0 is full size.",
        ),
    ] = 1536,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that read films; 0 is one per processor.")
    ] = 0,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Table of labels (image, y_<label>…, or NIH's): the dashboard gets ROC curves and "
            "reliability diagrams of these films."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Analyse files or directories into OUT: final_clinical_report.csv, heatmaps/, dashboard.html.

    Run the command again to resume an interrupted run.
    """
    from daemon.analyse.reader.decoder_pool import DecoderLimits
    from daemon.batch.analyse_files import analyse_files

    settings = load_config(config)
    with progress_of("file", "analysing") as progress:
        summary = analyse_files(
            paths,
            out,
            settings.model,
            identifiers=not no_identifiers,
            limits=DecoderLimits.of(settings.analyst),
            rules=Rules(picture_check=picture_check),
            workers=workers or None,
            picture_side=picture_max_side or None,
            labels=labels,
            now=datetime.datetime.now(datetime.UTC),
            echo=echo_beside,
            progress=progress,
        )
    if summary.work:
        typer.echo(summary.work, err=True)
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
    from cxr_model.engine.processors import usable_cores
    from cxr_model.findings import LABELS
    from daemon.audit.export import recorded
    from storage.audit.records import AuditKind
    from storage.export.export import ExportFilter
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
        with progress_bar(store.export.count(rows), "row", "exporting") as progress:
            write = functools.partial(
                store.export.write_csv, out, LABELS, rows, progress, usable_cores()
            )
            written = recorded(store, AuditKind.DATA_EXPORTED, out, write)
    if as_json:
        print_json({"file": str(out), "rows": written})
        return
    typer.echo(f"{written} row(s) in {out}. Research use only.")
