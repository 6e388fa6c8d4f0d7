"""Routing: each combination of peers, and the destinations of each sender's results."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from daemon.config.loading import load_config
from daemon.config.peers import PeerConfig
from daemon.config.receivers import ResultsOf
from daemon.config.routing import Routing, source_of_caller
from daemon.errors import ConfigError


def peer(
    name: str,
    does: str,
    results_of: object = None,
    source: str | None = None,
    *,
    ae_title: str | None = None,
    host: str | None = None,
) -> PeerConfig:
    """Return a peer that sends (`s`), receives (`r`) or both (`sr`)."""
    return PeerConfig.model_validate(
        {
            "name": name,
            "ae_title": ae_title or name.upper(),
            "host": host or ("127.0.0.1" if "r" in does else None),
            "port": 104 if "r" in does else None,
            "sends": "s" in does,
            "receives": ["report"] if "r" in does else [],
            "results_of": results_of,
            "source": source,
        }
    )


@dataclass(frozen=True)
class Case:
    name: str
    peers: tuple[PeerConfig, ...]
    table: dict[str, str]
    """The destinations by source, with spaces between them."""
    crossings: str = ""


CASES = [
    Case("a sender alone", (peer("m", "s"),), {"m": ""}),
    Case("a receiver alone", (peer("pacs", "r"),), {}),
    Case("one that does both", (peer("pacs", "sr"),), {"pacs": "pacs"}),
    Case("a sender and a receiver", (peer("m", "s"), peer("pacs", "r")), {"m": "pacs"}),
    Case(
        "two senders and a receiver",
        (peer("m", "s"), peer("n", "s"), peer("pacs", "r")),
        {"m": "pacs", "n": "pacs"},
    ),
    Case(
        "a sender and two receivers",
        (peer("m", "s"), peer("pacs", "r"), peer("research", "r")),
        {"m": "pacs research"},
    ),
    Case(
        "a sender and one that does both",
        (peer("m", "s"), peer("pacs", "sr")),
        {"m": "pacs", "pacs": "pacs"},
    ),
    Case(
        "two hospitals",
        (peer("north", "sr"), peer("south", "sr")),
        {"north": "north", "south": "south"},
    ),
    Case(
        "two hospitals and a receiver, which gets all",
        (peer("north", "sr"), peer("south", "sr"), peer("research", "r")),
        {"north": "north research", "south": "south research"},
    ),
    Case(
        "a sender's results go to the receiver, not to a hospital",
        (peer("m", "s"), peer("north", "sr"), peer("south", "sr"), peer("research", "r")),
        {"m": "research", "north": "north research", "south": "south research"},
    ),
    Case(
        "a sender, one that does both and a receiver",
        (peer("m", "s"), peer("pacs", "sr"), peer("research", "r")),
        {"m": "research", "pacs": "pacs research"},
    ),
    Case(
        "a sender of a hospital's source",
        (peer("m", "s", source="north"), peer("north", "sr"), peer("south", "sr")),
        {"north": "north", "south": "south"},
    ),
    Case(
        "hospitals that send and receive as two peers",
        (
            peer("ns", "s", source="north"),
            peer("nr", "r", source="north"),
            peer("ss", "s", source="south"),
            peer("sr", "r", source="south"),
        ),
        {"north": "nr", "south": "sr"},
    ),
    Case(
        "the same beside one that does both",
        (peer("ns", "s", source="n"), peer("nr", "r", source="n"), peer("pacs", "sr")),
        {"n": "nr", "pacs": "pacs"},
    ),
    Case(
        "two peers of one archive do both",
        (peer("one", "sr", source="archive"), peer("two", "sr", source="archive")),
        {"archive": "one two"},
    ),
    Case(
        "a source of its own on a receiver changes nothing",
        (peer("m", "s"), peer("pacs", "r", source="pacs")),
        {"m": "pacs"},
    ),
    Case(
        "a list decides for a sender",
        (peer("m", "s"), peer("north", "sr", ["north", "m"]), peer("south", "sr")),
        {"m": "north", "north": "north", "south": "south"},
    ),
    Case(
        "a list leaves out its own source",
        (peer("m", "s"), peer("north", "sr", ["m"])),
        {"m": "north", "north": ""},
    ),
    Case(
        "own on a peer that does both leaves the sender without a destination",
        (peer("m", "s"), peer("pacs", "sr", "own")),
        {"m": "", "pacs": "pacs"},
    ),
    Case(
        "own on both hospitals",
        (peer("m", "s"), peer("north", "sr", "own"), peer("south", "sr", "own")),
        {"m": "", "north": "north", "south": "south"},
    ),
    Case(
        "own on a receiver of a shared source, all beside it",
        (
            peer("m", "s"),
            peer("pacs", "r", "own", source="m"),
            peer("n", "s"),
            peer("research", "r", "all"),
        ),
        {"m": "pacs research", "n": "research"},
    ),
    Case(
        "all on a receiver of a shared source",
        (peer("m", "s"), peer("n", "s"), peer("pacs", "r", "all", source="m")),
        {"m": "pacs", "n": "pacs"},
    ),
    Case(
        "all on a hospital",
        (peer("north", "sr", "all"), peer("south", "sr")),
        {"north": "north", "south": "north south"},
        crossings="south>north",
    ),
    Case(
        "all on a hospital, and a sender",
        (peer("m", "s"), peer("north", "sr", "all"), peer("south", "sr")),
        {"m": "north", "north": "north", "south": "north south"},
        crossings="south>north",
    ),
    Case(
        "a list crosses both ways",
        (peer("north", "sr", ["south"]), peer("south", "sr", ["north"])),
        {"north": "south", "south": "north"},
        crossings="north>south south>north",
    ),
    Case(
        "a list on a receiver, the sender's fallback",
        (peer("m", "s"), peer("pacs", "sr"), peer("research", "r", ["pacs"])),
        {"m": "pacs", "pacs": "pacs research"},
    ),
    Case(
        "a list on a receiver of the sender's source leaves it without a destination",
        (peer("m", "s"), peer("mr", "r", ["pacs"], source="m"), peer("pacs", "sr")),
        {"m": "", "pacs": "mr pacs"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_go_where_the_table_says(case: Case) -> None:
    routing = Routing.of(case.peers)
    assert {source: " ".join(names) for source, names in routing.table.items()} == case.table
    assert " ".join(f"{source}>{name}" for source, name in routing.crossings) == case.crossings


def test_an_unknown_source_goes_nowhere() -> None:
    routing = Routing.of([peer("m", "s"), peer("pacs", "r")])
    assert routing.destinations("m") == ("pacs",)
    for gone in ("", "removed"):
        assert routing.destinations(gone) == ()
        assert not routing.allows(gone, "pacs")


UNDECIDED = [
    (peer("m", "s"), peer("north", "sr"), peer("south", "sr")),
    (peer("m", "s"), peer("x: y", "s", ae_title="N"), peer("north", "sr"), peer("no", "sr")),
    (peer("m", "s"), peer("north", "sr", "own"), peer("south", "sr")),
    (peer("m", "s"), peer("n", "s"), peer("north", "sr", ["north", "n"]), peer("south", "sr")),
    (peer("m", "s"), peer("north", "sr"), peer("south", "sr"), peer("other", "r", ["south"])),
    (peer("m", "s"), peer("one", "sr", source="a"), peer("two", "sr", source="a")),
]


def _file(folder: Path, peers: list[dict[str, object]]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"peers": peers}), encoding="utf-8")
    return path


@pytest.mark.parametrize("peers", UNDECIDED)
def test_refusal_prints_lines_that_decide(tmp_path: Path, peers: tuple[PeerConfig, ...]) -> None:
    values = [item.model_dump(mode="json") for item in peers]
    with pytest.raises(ConfigError) as caught:
        load_config(_file(tmp_path, values))
    first, _, rest = str(caught.value).partition("\n")
    assert first.startswith(f"{tmp_path / 'config.yaml'}: peers: the results of ")
    choices, _, nowhere = rest.partition("\nor, to send them to no peer, ")
    options = choices.split("\nor\n")
    assert len(options) == sum(item.sends and bool(item.receives) for item in peers)
    for option in options:
        (added,) = yaml.safe_load(option)
        changed = [item | added if item["name"] == added["name"] else item for item in values]
        table = load_config(_file(tmp_path, changed)).routing.table
        assert table["m"] == (added["name"],)
    nobody = yaml.safe_load(nowhere.partition("\n")[2])
    changed = [item | nobody if item["sends"] and item["receives"] else item for item in values]
    assert load_config(_file(tmp_path, changed)).routing.table["m"] == ()


@pytest.mark.parametrize(
    ("peers", "message"),
    [
        (
            [peer("m", "s"), peer("pacs", "r", ["m", "nobody"])],
            "has results_of 'nobody', which is the source of no peer that sends;"
            " the sources are: m",
        ),
        ([peer("m", "s"), peer("pacs", "r", ["pacs"])], "the sources are: m"),
        ([peer("pacs", "r", ["m"])], "the sources are: none"),
        ([peer("m", "s"), peer("pacs", "r", "own")], "no peer that sends has the source 'pacs'"),
    ],
)
def test_unknown_source_is_named_with_the_known(peers: list[PeerConfig], message: str) -> None:
    with pytest.raises(ValueError, match="peer pacs has results_of") as caught:
        Routing.of(peers)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "source", "accepted"),
    [
        (None, None, None, False),
        (None, "10.0.0.1", None, False),
        ("10.0.0.1", None, None, False),
        ("10.0.0.1", "10.0.0.1", None, False),
        ("10.0.0.1", "::ffff:10.0.0.1", None, False),
        ("pacs.example", "PACS.example.", None, False),
        ("10.0.0.1", "10.0.0.2", None, True),
        (None, None, "one", True),
        (None, "10.0.0.1", "one", True),
    ],
)
def test_senders_that_look_alike_share_a_source(
    tmp_path: Path, first: str | None, second: str | None, source: str | None, accepted: bool
) -> None:
    peers = [
        peer("a", "s", source=source, ae_title="SAME", host=first),
        peer("b", "s", source=source, ae_title="SAME", host=second),
    ]
    path = _file(tmp_path, [item.model_dump(mode="json") for item in peers])
    if accepted:
        load_config(path)
        return
    with pytest.raises(ConfigError, match="'a' and 'b' send as SAME and cannot be told apart"):
        load_config(path)


def test_a_receiver_may_have_the_title_of_a_sender(tmp_path: Path) -> None:
    peers = [peer("a", "s", ae_title="SAME"), peer("b", "r", ae_title="SAME")]
    path = _file(tmp_path, [item.model_dump(mode="json") for item in peers])
    assert load_config(path).routing.table == {"a": ("b",)}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": "a@b"}, "no @ among them"),
        ({"source": ""}, "1 to 64 printable characters"),
        ({"source": " "}, "1 to 64 printable characters"),
        ({"source": "x" * 65}, "1 to 64 printable characters"),
        ({"source": "a\nb"}, "1 to 64 printable characters"),
        ({"source": "all"}, "'all' means something else in results_of"),
        ({"results_of": "some"}, "must be own, all, or a list of sources"),
        ({"results_of": []}, "must be own, all, or a list of sources"),
        ({"results_of": [1]}, "must be own, all, or a list of sources"),
        ({"results_of": ["a@b"]}, "no @ among them"),
        ({"name": "a@b"}, "peer a@b sends, and its name cannot be its source"),
        ({"name": "own"}, "peer own sends, and its name cannot be its source"),
        ({"receives": [], "results_of": "own"}, "has results_of, but receives nothing"),
    ],
)
def test_unusable_value_is_named(tmp_path: Path, keys: dict[str, object], message: str) -> None:
    values = peer("a", "sr").model_dump(mode="json") | keys
    with pytest.raises(ConfigError) as caught:
        load_config(_file(tmp_path, [values]))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_name_that_is_no_source_is_no_fault_with_a_source() -> None:
    assert peer("a@b", "s", source="a").effective_source == "a"
    assert peer("a@b", "r").effective_source == "a@b"


def test_values_are_read_as_written() -> None:
    assert peer("a", "sr").results_of is None
    assert peer("a", "sr", "own").results_of is ResultsOf.OWN
    assert peer("a", "sr", ["b", " b", "a"], " north ").results_of == ("b", "a")
    assert peer("a", "sr", source=" north ").effective_source == "north"


def test_source_of_a_caller() -> None:
    peers = [
        peer("modality", "s", source="clinic"),
        peer("north", "sr", ae_title="ORTHANC", host="127.0.0.1"),
        peer("south", "sr", ae_title="ORTHANC", host="127.0.0.2"),
        peer("viewer", "r"),
    ]
    assert source_of_caller(peers, "MODALITY", "192.0.2.1") == "clinic"
    assert source_of_caller(peers, "ORTHANC", "127.0.0.1") == "north"
    assert source_of_caller(peers, "ORTHANC", "::ffff:127.0.0.2") == "south"
    with pytest.raises(ConfigError, match=r"ORTHANC at 127\.0\.0\.3 is no peer that sends"):
        source_of_caller(peers, "ORTHANC", "127.0.0.3")
    with pytest.raises(ConfigError, match=r"VIEWER at 127\.0\.0\.1 is no peer that sends"):
        source_of_caller(peers, "VIEWER", "127.0.0.1")


def test_two_names_of_one_address_have_no_source() -> None:
    peers = [
        peer("north", "s", ae_title="ORTHANC", host="127.0.0.1"),
        peer("south", "s", ae_title="ORTHANC", host="localhost"),
    ]
    with pytest.raises(ConfigError, match=r"is two sources \(north, south\)"):
        source_of_caller(peers, "ORTHANC", "127.0.0.1")
