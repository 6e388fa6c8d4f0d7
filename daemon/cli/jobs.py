"""`cxrd jobs`: list, show, retry and discard the jobs of the queue, change their priority."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, load_config, print_json, raise_refused
from daemon.cli.tables import Column, print_fields, print_table
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.actions.jobs import JobsOutcome
    from storage.records import ListedJob

jobs_app = typer.Typer()

_PRIORITIES = {1: "STAT", -1: "backfill:"}
"""The words before the task of a job that is not ordinary."""
LARGEST_NUMBER = 2**63 - 1
"""The largest number of a row that the databases know."""

_COLUMNS = (
    Column("Job", right=True),
    Column("State"),
    Column("Task", yields=2, least=8),
    Column("Attempts", right=True),
    Column("Study", yields=0, least=13, is_shortened=True),
    Column("Accession", yields=3, least=9),
    Column("Last error", yields=1, least=20),
)

JobArgument = Annotated[
    int,
    typer.Argument(help="The job's number, as `cxrd jobs list` shows it.", max=LARGEST_NUMBER),
]


@jobs_app.command("list")
def jobs_list(
    state: Annotated[
        str | None, typer.Option(help="queued, running, done, parked or discarded.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="analyse, report, deliver, commit, answer, retrieve, perform."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Only jobs for this destination.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List jobs: parked jobs first, then failed, running, queued, done and discarded ones.

    `cxrd jobs show` and --json show the whole of a UID that is shortened here.
    """
    from storage.queue.listing import JobFilter
    from storage.records import JobKind, JobState
    from storage.store import Store

    if state is not None and state not in list(JobState):
        raise UsageError(f"--state: {state!r} is not one of {', '.join(JobState)}")
    if kind is not None and kind not in list(JobKind):
        raise UsageError(f"--kind: {kind!r} is not one of {', '.join(JobKind)}")
    chosen = JobFilter(JobState(state) if state else None, JobKind(kind) if kind else None, to)
    with Store.open(load_config(config).resolved_database_url, migrate=False) as store:
        page = store.job_list.page(chosen, limit)
    if as_json:
        print_json({"jobs": [_document(listed) for listed in page.jobs], "total": page.total})
        return
    print_table(_COLUMNS, map(_row, page.jobs))
    if not page.total:
        typer.echo("no such jobs")
    elif len(page.jobs) < page.total:
        typer.echo(f"{len(page.jobs)} of {page.total} job(s): --limit shows more")
    else:
        typer.echo(f"{page.total} of {page.total} job(s)")


def _row(listed: "ListedJob") -> tuple[object, ...]:
    job = listed.job
    preposition = "from" if job.kind == "retrieve" else "to"
    task = f"{job.kind} {preposition} {job.lane}" if job.lane else str(job.kind)
    if word := _PRIORITIES.get(job.priority):
        task = f"{word} {task}"
    study, accession = listed.study_instance_uid, listed.accession_number
    return job.id, job.state, task, job.attempts, study, accession, job.last_error or ""


def _document(listed: "ListedJob") -> dict[str, object]:
    from storage.records import Priority

    job = listed.job
    return {
        "job": job.id,
        "state": job.state,
        "kind": job.kind,
        "priority": Priority(job.priority).name.lower(),
        "peer": job.lane,
        "study": listed.study_instance_uid,
        "accession": listed.accession_number,
        "attempts": job.attempts,
        "error": job.last_error,
        "due": job.not_before,
        "created": job.created_at,
        "changed": job.updated_at,
    }


@jobs_app.command("show")
def jobs_show(
    job_id: JobArgument, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show everything about one job."""
    import dataclasses

    from daemon.words.workitems import workitem_words
    from storage.records import JobKind, Priority
    from storage.store import Store

    with Store.open(load_config(config).resolved_database_url, migrate=False) as store:
        listed = store.job_list.listed(store.jobs.get(job_id))
        is_workitem = listed.job.kind is JobKind.PERFORM
        item = store.workitems.of(listed.job) if is_workitem else None
    if as_json:
        print_json(_document(listed))
        return
    shown = dataclasses.asdict(listed.job)
    shown["priority"] = Priority(listed.job.priority).name.lower()
    shown |= {"study": listed.study_instance_uid, "accession": listed.accession_number}
    if listed.coerced_uid:
        shown["kept as"] = listed.coerced_uid
    if item is not None:
        shown |= {"workitem": workitem_words(item).words, "reason": item.reason or "none"}
    print_fields(shown.items())


@jobs_app.command("retry")
def jobs_retry(
    job_ids: Annotated[
        list[int] | None, typer.Argument(help="Numbers of the jobs.", max=LARGEST_NUMBER)
    ] = None,
    parked: Annotated[bool, typer.Option("--all-parked", help="Every parked job.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Queue jobs again, due now and with no attempts counted."""
    from daemon.actions.actor import Actor
    from daemon.actions.jobs import ChosenJob, retry_jobs
    from storage.records import JobState
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        wanted = list(job_ids or [])
        if parked:
            wanted += [job.id for job in store.jobs.list(state=JobState.PARKED, limit=None)]
        elif not wanted:
            raise UsageError("name the jobs to retry, or give --all-parked")
        outcome = retry_jobs(
            settings, store, [ChosenJob(job) for job in wanted], Actor.of_process()
        )
    if not as_json:
        typer.echo(f"{len(outcome.done)} job(s) queued again")
    _show_outcome(outcome, "queued", as_json=as_json)


@jobs_app.command("discard")
def jobs_discard(
    job_ids: Annotated[list[int], typer.Argument(help="Numbers of the jobs.", max=LARGEST_NUMBER)],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Discard jobs for good; their rows stay as a record."""
    from daemon.actions.actor import Actor
    from daemon.actions.jobs import ChosenJob, discard_jobs
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        outcome = discard_jobs(
            settings, store, [ChosenJob(job) for job in job_ids], Actor.of_process()
        )
    if not as_json:
        for job in outcome.done:
            typer.echo(f"job {job} is discarded")
    _show_outcome(outcome, "discarded", as_json=as_json)


@jobs_app.command("priority")
def jobs_priority(
    job_ids: Annotated[list[int], typer.Argument(help="Numbers of the jobs.", max=LARGEST_NUMBER)],
    priority: Annotated[str, typer.Argument(help="stat, routine or backfill.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Change the priority of jobs that wait: stat, routine or backfill."""
    from daemon.actions.actor import Actor
    from daemon.actions.jobs import set_priority
    from storage.records import Priority
    from storage.store import Store

    words = {one.name.lower(): one for one in Priority}
    if priority not in words:
        raise UsageError(f"{priority!r} is no priority: write stat, routine or backfill")
    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        outcome = set_priority(settings, store, job_ids, words[priority], Actor.of_process())
    if not as_json:
        for job in outcome.done:
            typer.echo(f"job {job} is {priority}")
    _show_outcome(outcome, "changed", as_json=as_json)


def _show_outcome(outcome: "JobsOutcome", done: str, *, as_json: bool) -> None:
    """Print the document, and the refused jobs as errors. Raises UsageError if there are any."""
    if as_json:
        refused = [{"job": one.job, "reason": one.reason} for one in outcome.refused]
        print_json({done: outcome.done, "refused": refused})
    lines = [f"job {one.job} stays as it is: {one.reason}" for one in outcome.refused]
    raise_refused(lines, f"job(s) are not {done}")
