"""docs/troubleshooting.md has each message of `cxrd check` and `cxrd serve`, and no other."""

import re

from tests.pages.messages import collected, normal
from tests.tools.paths import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`.*`) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

PASSED_ON = {
    "cxr_model/files/bundle_files.py: named",
    "cxr_model/predict/predictor.py: predict_inputs",
    "daemon/cli/serve.py: serve",
    "daemon/commitment/commitment_worker.py: _record_sent",
    "daemon/config/settings.py: load_config",
    "daemon/config/yaml_file.py: read_yaml",
    "daemon/deliver/purge.py: _check_files",
    "daemon/preflight/before_start.py: _require_free",
    "daemon/preflight/checks.py: _guarded",
    "daemon/preflight/host.py: _check_port",
    "daemon/preflight/host.py: check_certificates",
    "daemon/preflight/host.py: check_roles",
    "daemon/preflight/model.py: _answer",
    "daemon/preflight/routes.py: _hosts_that_are_alike",
    "daemon/preflight/routes.py: check_routes",
    "daemon/supervise/supervised_store.py: requeue_in_time",
    "daemon/supervise/supervisor.py: _await_ready",
    "daemon/supervise/supervisor.py: _watch_all",
    "daemon/web/address.py: listening_socket",
    "daemon/web/address.py: require_private",
    "dicom_io/peer/tls.py: examine",
    "dicom_io/receive/node.py: start",
    "storage/files/spool.py: _marker_errors",
    "storage/files/spool.py: _require_writable",
}
"""The functions that only repeat the text of another error, or values: its text is collected."""


def rows() -> list[tuple[str, str, str]]:
    return ROW.findall(PAGE.partition("## Messages\n")[2])


def documented() -> list[str]:
    return [normal(each) for cell, *_ in rows() for each in re.findall(r"`([^`]+)`", cell)]


def test_each_message_of_check_and_serve_is_in_the_page() -> None:
    known = set(documented())
    missing = sorted(
        f"{each.place}: {each.text}" for each in collected().messages if each.text not in known
    )
    assert missing == [], "add a row to docs/troubleshooting.md for each of these"


def test_each_message_of_the_page_is_in_the_source() -> None:
    made = {message.text for message in collected().messages}
    stale = [text for text in documented() if text not in made]
    assert stale == [], "the source no longer has these messages: remove or correct their rows"


def test_no_message_is_in_two_rows() -> None:
    texts = documented()
    assert sorted(text for text in set(texts) if texts.count(text) > 1) == []


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    table_lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows()) == len(table_lines) > 100
    for cell, meaning, action in rows():
        assert len(meaning.split()) >= 3, cell
        assert len(action.split()) >= 2, cell


def test_no_other_function_hides_its_message() -> None:
    """A message that is built elsewhere is collected only if MAKERS names the function."""
    hidden = collected().passed_on
    assert hidden == PASSED_ON, "name the function that makes the text in MAKERS, or list it here"


def test_collector_finds_a_new_message() -> None:
    texts = {message.text for message in collected().messages}
    assert "the store … is damaged (…): …" in texts
    assert "calling AE title is not a known sender" in texts
    assert "unknown key …" in texts
    assert len(texts) > 300
