"""A film is STAT by its peer, by the called AE title or by its header."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE

from daemon.audit.network import NetworkAudit
from daemon.config.loading import load_config
from daemon.config.peers import PeerConfig, PeerPriority, PriorityConfig
from daemon.config.sections.roles import ListenerConfig
from daemon.config.settings import Config
from daemon.errors import ConfigError
from daemon.listener import open_node, stat_of
from daemon.receive.reception import Reception
from storage.files.folder_spool import FolderSpool
from storage.records import Priority
from tests.builders.images.films import changed, film
from tests.builders.stores.new import new_store
from tests.tools.ports import HOST, SENDER, free_port

pytestmark = pytest.mark.network

PEERS = (
    PeerConfig(name="ct", ae_title="PLAIN", sends=True),
    PeerConfig(name="er", ae_title="ER", sends=True, priority=PeerPriority.STAT),
    PeerConfig(name="clinic", ae_title="CLINIC", sends=True, priority=PeerPriority.ROUTINE),
)


@pytest.mark.parametrize(
    ("calling", "called", "is_urgent", "expected"),
    [
        ("PLAIN", "CXRD", False, False),
        ("PLAIN", "CXRD", True, True),
        ("PLAIN", "CXRD_STAT", False, True),
        ("ER", "CXRD", False, True),
        ("CLINIC", "CXRD", True, False),
        ("CLINIC", "CXRD_STAT", False, True),
    ],
)
def test_a_film_is_stat_by_peer_title_or_header(
    calling: str, called: str, is_urgent: bool, expected: bool
) -> None:
    rules = PriorityConfig(stat_ae_titles=("CXRD_STAT",))
    assert rules.is_stat(PEERS, calling, called, is_urgent=is_urgent) is expected


def test_the_header_can_be_left_out() -> None:
    rules = PriorityConfig(from_header=False)
    assert not rules.is_stat(PEERS, "PLAIN", "CXRD", is_urgent=True)
    assert rules.is_stat(PEERS, "ER", "CXRD", is_urgent=False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("priority: {max_wait_minutes: 0}", "priority.max_wait_minutes"),
        ("priority: {stat_ae_titles: [A\\B]}", "priority.stat_ae_titles"),
        ("priority: {stat_ae_titles: [CXRD]}", "priority.stat_ae_titles"),
        ("peers: [{name: a, ae_title: A, sends: true, priority: urgent}]", "priority"),
        (
            "peers: [{name: a, ae_title: A, sends: true, priority: stat},"
            " {name: b, ae_title: A, sends: true}]",
            "their priority must be the same",
        ),
        (
            "peers: [{name: a, ae_title: A, host: h, port: 1, receives: [report], priority: stat}]",
            "peer a",
        ),
    ],
)
def test_a_contradiction_is_refused(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_config(path)


def test_what_is_sent_to_a_further_title_is_stat(tmp_path: Path) -> None:
    config = Config(
        listener=ListenerConfig(port=free_port(), check_called_ae_title=True),
        peers=(PeerConfig(name="sender", ae_title=SENDER, sends=True),),
        priority=PriorityConfig(stat_ae_titles=("CXRD_STAT",)),
    )
    sent = {
        "CXRD": [film("1.1"), changed(film("1.2"), RequestedProcedurePriority="STAT")],
        "CXRD_STAT": [film("1.3")],
        "OTHER": [film("1.4")],
    }
    spool = FolderSpool(tmp_path / "spool")
    with new_store(tmp_path / "store.sqlite") as store, NetworkAudit(store.audit) as audit:
        reception = Reception(spool, store, 30, is_stat=stat_of(config))
        with open_node(config, reception, audit):
            accepted = [_send(config.listener.port, *each) for each in sent.items()]
        assert accepted == [True, True, False]
        films = [store.results.instance(number) for number in (1, 2, 3)]
        assert len(store.jobs.list()) == 2 * len(films)
    assert [item.priority for item in films] == [Priority.ROUTINE, Priority.STAT, Priority.STAT]


def _send(port: int, called: str, films: list[bytes]) -> bool:
    """Send films to an AE title; return True if the association was accepted."""
    datasets = [dcmread(BytesIO(data)) for data in films]
    ae = AE(ae_title=SENDER)
    for ds in datasets:
        ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = ae.associate(HOST, port, ae_title=called)
    if not association.is_established:
        return False
    for ds in datasets:
        assert association.send_c_store(ds).Status == 0
    association.release()
    return True
