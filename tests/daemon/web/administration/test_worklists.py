"""/worklists: the managers and their workitems, for people and for programs."""

import json
from pathlib import Path

import pytest

from storage.files.folder_spool import FolderSpool
from storage.store import Store
from tests.builders.store_rows import SOURCE
from tests.builders.worklist.scene import Scene
from tests.servers.website import cells, running_site
from tests.tools.clock import Clock

pytestmark = [pytest.mark.daemon, pytest.mark.network]

PEER = {
    "name": "pacs",
    "ae_title": "PACS",
    "host": "127.0.0.1",
    "port": 104,
    "sends": True,
    "receives": ["report"],
    "source": SOURCE,
}
WORKLIST = {
    "name": "ris",
    "kind": "dimse",
    "ae_title": "RIS",
    "host": "127.0.0.1",
    "port": 105,
    "source": SOURCE,
}


def test_the_page_tells_the_state_of_each_workitem(tmp_path: Path, store: Store) -> None:
    scene = Scene(store, FolderSpool(tmp_path / "spool"), Clock(store.now()))
    done, waiting = scene.order(1), scene.order(2)
    scene.send(1)
    scene.deliver()
    scene.search()
    performer, queue = scene.performer()
    while job := queue.claim():
        performer.perform(job, scene.manager)
    store.workitems.note_answer("ris", "ris does not answer: is it running?")
    with running_site(tmp_path, peers=[PEER], worklists=[WORKLIST]) as site:
        rows = {row[0]: row for row in cells(site.ask("/worklists").text) if row}
        document = json.loads(site.ask("/api/worklists").text)
        assert ">Worklists</a>" in site.ask("/jobs").text
        study = site.ask(f"/studies/{scene.study(1)}?source={SOURCE}").text
    assert rows["ris"][1:3] == ["dimse", SOURCE]
    assert rows["ris"][5:] == ["1 in progress, 1 completed", "ris does not answer: is it running?"]
    states = {item["uid"]: (item["words"], item["outputs"]) for item in document["workitems"]}
    assert states == {done: ("completed", 1), waiting: ("in progress here", 0)}
    assert "Workitem of ris completed" in study


def test_a_node_without_worklists_says_so(tmp_path: Path, store: Store) -> None:
    with running_site(tmp_path) as site:
        assert "No worklist is configured" in site.ask("/worklists").text
        assert ">Worklists</a>" not in site.ask("/jobs").text
