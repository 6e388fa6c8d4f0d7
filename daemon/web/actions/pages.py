"""All pages of the acts of operators."""

from collections.abc import Sequence

from daemon.web.actions.job_pages import job_entries
from daemon.web.actions.leave import result_entry
from daemon.web.actions.study_pages import study_entries
from daemon.web.entry import Entry
from daemon.web.site import Site


def action_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the acts of operators."""
    return [*job_entries(site), *study_entries(site), result_entry(site)]
