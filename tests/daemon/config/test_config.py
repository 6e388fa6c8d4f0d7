"""The configuration: complete defaults, and one clear line for each mistake."""

import dataclasses
import os
import re
from pathlib import Path

import pytest
import yaml

from daemon.config.loading import known_keys, load_config
from daemon.config.partners.fhir_version import FhirVersion
from daemon.config.peers import PeerConfig, RulesConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from daemon.errors import ConfigError
from dicom_io.gate.rules import DEFAULT_RULES, PictureRule, Rules
from tests.tools.paths import ROOT

SHIPPED = ROOT / "config.yaml"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CXRD_"):
            monkeypatch.delenv(name)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_file_contains_exactly_the_defaults() -> None:
    values = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert Config(**values) == Config()


def test_shipped_file_names_every_key() -> None:
    values = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    written = set()
    for name, value in values.items():
        written |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else {name}
    assert written == set(known_keys())
    assert all(set(peer) == set(PeerConfig.model_fields) for peer in values["peers"])
    assert values["destinations"] == []


def test_rules_are_those_of_the_gate() -> None:
    assert Rules(**RulesConfig().model_dump()) == DEFAULT_RULES
    fields = [field.name for field in dataclasses.fields(Rules)]
    assert list(RulesConfig.model_fields) == fields
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert all(list(peer["rules"]) == fields for peer in shipped["peers"])


@pytest.mark.parametrize("written", ["refuse", "note", "off", "'off'"])
def test_the_picture_check_takes_a_plain_off(tmp_path: Path, written: str) -> None:
    file = tmp_path / "config.yaml"
    rules = f"{{picture_check: {written}}}"
    file.write_text(f"peers: [{{name: a, ae_title: A, sends: true, rules: {rules}}}]")
    (peer,) = load_config(file).peers
    assert peer.rules.picture_check is PictureRule(written.strip("'"))


def test_default_is_closed_to_the_network() -> None:
    config = Config()
    assert config.listener.host == config.web.host == "127.0.0.1"
    assert [peer.ae_title for peer in config.peers] == ["STORESCU"]
    assert config.senders == config.peers
    assert config.receivers == ()


def test_shipped_example_of_a_destination_works(tmp_path: Path) -> None:
    shipped, marker, rest = SHIPPED.read_text("utf-8").partition("# Receivers of results")
    text, lines = re.subn(r"(?m)^#(  (- name: pacs|  \w+: ))", r"\1", shipped)
    assert lines == 6
    text += marker + rest
    config = load_config(write(tmp_path, text))
    (pacs,) = config.dicom_receivers
    assert (pacs.host, pacs.port, pacs.sends) == ("127.0.0.1", 4242, True)
    assert pacs.receives == (Product.REPORT, Product.HEATMAP)
    assert config.routing.table == {"storescu": ("pacs",), "pacs": ("pacs",)}


def test_shipped_examples_of_destinations_work(tmp_path: Path) -> None:
    _, _, after = SHIPPED.read_text("utf-8").partition("destinations: []\n")
    lines = [line for line in after.partition("\n\n")[0].splitlines() if line.startswith("#  ")]
    (tmp_path / "archive.token").write_text("a-token-of-the-archive")
    peers = "peers: [{name: a, ae_title: A, sends: true}]"
    text = "\n".join([peers, "destinations:", *(line[1:] for line in lines)])
    archive, ris, ehr = load_config(write(tmp_path, text)).destinations
    assert archive.token is not None
    assert archive.token.get_secret_value() == "a-token-of-the-archive"
    assert archive.receives == (Product.REPORT, Product.HEATMAP)
    assert (ris.host, ris.port, ris.receives) == ("ris.example.org", 2575, (Product.REPORT,))
    assert (ehr.version, ehr.patient_system) == (FhirVersion.R5, "https://example.org/mrn")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("kind: hl7, url: x, receives: [report]", "is of kind hl7: set host and port"),
        ("kind: fhir, host: x, port: 1, receives: [report]", "is of kind fhir: set url"),
        ("kind: fhir, url: ftp://x, receives: [report]", "as https://HOST/PATH"),
        ("kind: fhir, url: https://a:b@x, receives: [report]", "has its own key"),
        ("kind: fhir, url: http://x, receives: [report]", "url is not encrypted"),
        ("kind: fhir, url: https://x, tls: true, receives: [report]", "leave tls out"),
        ("kind: hl7, host: x, port: 1, ca: y, receives: [report]", "without TLS"),
        ("kind: hl7, host: x, port: 1", "receives nothing: set receives"),
        ("kind: hl7, host: x, port: 1, receives: [heatmap]", "carries reports alone"),
        ("kind: fhir, url: https://x, receives: [report], picture_syntax: rle", "no picture"),
        ("kind: hl7, host: x, port: 1, receives: [report], token: y", "has no token"),
        (
            "kind: fhir, url: https://x, receives: [report], token: y, token_file: z",
            "set token or token_file, not both",
        ),
        ("kind: ftp, url: https://x, receives: [report]", "kind"),
        ("kind: fhir, url: https://x, receives: [report]", "set version to R5 or R4B"),
        ("kind: fhir, url: https://x, receives: [report], version: R6", "version"),
        (
            "kind: dicomweb, url: https://x, receives: [report], version: R5",
            "version is for kind fhir alone",
        ),
        (
            "kind: fhir, url: https://x, receives: [report], version: R5, patient_system: mrn",
            "patient_system is a URI",
        ),
    ],
)
def test_a_destination_that_does_not_fit_is_refused(
    tmp_path: Path, given: str, message: str
) -> None:
    path = write(tmp_path, f"destinations: [{{name: a, {given}}}]")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(path)


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().listener.port = 1


@dataclasses.dataclass(frozen=True)
class Mistake:
    text: str
    message: str


@pytest.mark.parametrize(
    "mistake",
    [
        Mistake(
            "peers: [{name: a, ae_title: A, host: h, port: 1, receives: [heatmap],"
            " comparison: true}]",
            "a has comparison, but receives no report",
        ),
        Mistake("listener: {prot: 1}", "unknown key listener.prot; did you mean listener.port?"),
        Mistake("lisener: {port: 1}", "unknown key lisener; did you mean listener?"),
        Mistake("peers: [{name: a, ae_tittle: X}]", "did you mean peers.0.ae_title?"),
        Mistake("listener: {port: 99999}", "listener.port: must be less than"),
        Mistake("listener: {host: node..hospital}", "listener.host: is no name or address"),
        Mistake("listener: {ae_title: SEVENTEEN_LETTERS}", "an AE title has 1 to 16 characters"),
        Mistake("peers: [{name: a, ae_title: A, receives: [report]}]", "needs both host and port"),
        Mistake("peers: [{name: a, ae_title: A}]", "neither sends nor receives"),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true}, {name: a, ae_title: B, sends: true}]",
            "two peers, destinations or worklists are called 'a'",
        ),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, tls: true}]",
            "peer a may call over TLS only, and listener.tls is false",
        ),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, certificate_sha256: [abc]}]",
            "a certificate's SHA-256 has 64 hexadecimal digits",
        ),
        Mistake("listener: {tls: true}", "listener.tls needs tls.certificate and tls.key"),
        Mistake("listener: {tls_port: 2762}", "tls_port is set, but tls is false"),
        Mistake("listener: {tls: true, tls_port: 11112}", "tls_port is also port"),
        Mistake(
            "listener: {tls: true}\ntls: {certificate: a, key: b}",
            "tls.client_certificate needs tls.ca",
        ),
        Mistake(
            "listener: {tls: true}\ntls: {certificate: a, key: b, client_certificate: none}\n"
            f"peers: [{{name: a, ae_title: A, sends: true, certificate_sha256: [{'a' * 64}]}}]",
            "tls.client_certificate is none: set it to required or optional",
        ),
        Mistake(
            "listener: {tls: true}\ntls: {certificate: a, key: b, ca: c}\n"
            "peers: [{name: a, ae_title: A, sends: true, host: h, port: 104, receives: [report],"
            f" certificate_sha256: [{'a' * 64}]}}]",
            "peer a has certificate_sha256, but would be called without TLS: set tls to true",
        ),
        Mistake("tls: {certificate: a}", "certificate and key go together"),
        Mistake("web: {token: short}", "a token has at least 20 printable ASCII characters"),
        Mistake("web: {token_file: gone, token: aaaaaaaaaaaaaaaaaaaaa}", "token or token_file"),
        Mistake("database_url_file: a\ndatabase_url: b", "database_url or database_url_file"),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, commitment: true}]",
            "peer a receives nothing that it could commit to",
        ),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, rules: {minimum_age: 18}}]",
            "did you mean peers.0.rules.minimum_age_years?",
        ),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, host: h1},"
            " {name: b, ae_title: A, sends: true, host: h2, rules: {require_view: true}}]",
            "'a' and 'b' send as A, so their rules must be the same",
        ),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, rules: {picture_check: on}}]",
            "peers.0.rules.picture_check: must be refuse, note or off",
        ),
        Mistake("listener: [1", "line 1 is not valid YAML"),
        Mistake("just text", "must hold keys and values"),
        Mistake("1: 2", "must hold keys and values"),
        Mistake("study: {quiet_seconds: 0}", "study.quiet_seconds"),
        Mistake(
            "listener: {port: 104, check_called_ae_title: true}\nlistener: {port: 105}",
            "line 2: 'listener' is set in line 1 already",
        ),
        Mistake(
            "peers:\n- name: a\n  ae_title: A\n  host: 10.1.2.3\n  sends: true\n  'host': null\n",
            "line 6: 'host' is set in line 4 already",
        ),
        Mistake(
            "peers: [{name: a, ae_title: A, sends: true, rules:\n"
            "  {require_view: true,\n  require_view: false}}]",
            "line 3: 'require_view' is set in line 2 already",
        ),
        Mistake(
            "peers:\n- &a {name: a, ae_title: A, sends: true}\n- <<: *a\n  name: b\n  name: c\n",
            "line 5: 'name' is set in line 4 already",
        ),
        Mistake(
            "tls: {certificate: a, key: b, ca: c}",
            "tls.certificate is set, but connections would be plain: set listener.tls to true",
        ),
        Mistake("tls: {ca: c}", "tls.ca is set, but connections would be plain"),
        Mistake(
            "tls: {client_certificate: optional}",
            "tls.client_certificate is set, but connections would be plain",
        ),
        Mistake(
            "syslog: {transport: tcp, ca: a}", "syslog: ca is set, but transport is tcp, which has"
        ),
        Mistake(
            "syslog: {transport: udp, certificate: a, key: b}",
            "syslog: certificate is set, but transport is udp, which has no TLS: set transport",
        ),
        Mistake(
            "syslog: {transport: tcp, key_password: a}",
            "syslog: key_password is set, but transport",
        ),
        Mistake("listener: {host: ''}", "listener.host: is empty: 127.0.0.1 is for this machine"),
        Mistake("web: {host: ' '}", "web.host: is empty: 127.0.0.1 is for this machine alone"),
    ],
    ids=lambda mistake: mistake.text,
)
def test_mistake_is_named_in_one_line(tmp_path: Path, mistake: Mistake) -> None:
    path = write(tmp_path, mistake.text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert mistake.message in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "peers:\n"
        "- &a {name: a, ae_title: A, sends: true, host: h1}\n"
        "- &b {<<: *a, name: b, ae_title: B, host: h2, source: b}\n"
        "- {<<: *b, name: c}\n"
        "- {<<: [*b, *a], name: d, ae_title: D, rules: &r {require_view: true}}\n"
        "- {<<: *a, name: e, ae_title: E, rules: *r}\n",
    )
    peers = load_config(path).peers
    assert [(peer.name, peer.ae_title, peer.host) for peer in peers] == [
        ("a", "A", "h1"),
        ("b", "B", "h2"),
        ("c", "B", "h2"),
        ("d", "D", "h2"),
        ("e", "E", "h1"),
    ]
    assert [peer.rules.require_view for peer in peers] == [False, False, False, True, True]


def test_tls_of_a_destination_alone_uses_the_certificates(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "tls: {certificate: a, key: b, ca: c}\n"
        "peers: [{name: a, ae_title: A, host: h, port: 104, receives: [report], tls: true}]\n",
    )
    assert load_config(path).tls.ca == tmp_path / "c"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        load_config(tmp_path / "gone.yaml")


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRD_LISTENER__PORT", "12345")
    config = load_config(write(tmp_path, "listener: {port: 104, ae_title: MINE}"))
    assert (config.listener.port, config.listener.ae_title) == (12345, "MINE")


def test_unknown_environment_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRD_LISTENR__PORT", "1")
    with pytest.raises(ConfigError, match="did you mean CXRD_LISTENER__PORT"):
        load_config(write(tmp_path, ""))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CXRD_LISTENER", "canary"),
        ("CXRD_LISTENER", ""),
        ("cxrd_peers", '[{"name": "canary"'),
        ("CXRD_WEB__ALLOWED_HOSTS", "canary"),
    ],
)
def test_environment_that_is_not_json_is_named_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("CXRD_WEB__HOST", "localhost")
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, ""))
    assert str(caught.value).startswith(f"environment: {name} must be JSON: ")
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_environment_may_hold_a_section_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRD_LISTENER", '{"port": 104, "ae_title": "MINE"}')
    monkeypatch.setenv("CXRD_LISTENER__PORT", "105")
    config = load_config(write(tmp_path, ""))
    assert (config.listener.port, config.listener.ae_title) == (105, "MINE")


def test_relative_paths_belong_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "data_dir: kept\nmodel: {bundle: mine}"))
    assert config.data_dir == tmp_path / "kept"
    assert config.model.bundle == str(tmp_path / "mine")
    assert config.resolved_database_url == f"sqlite:///{tmp_path}/kept/cxrd.sqlite"


def test_starter_is_not_resolved_as_a_path(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")).model.bundle == "starter"


def test_callers_and_committers(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "peers:\n"
        "- {name: archive, ae_title: A, host: a, port: 104, receives: [report], commitment: true}\n"
        "- {name: viewer, ae_title: V, host: v, port: 104, receives: [report]}\n"
        "- {name: modality, ae_title: M, host: m, port: 104, sends: true}\n"
        "- {name: storescu, ae_title: S, sends: true}\n",
    )
    config = load_config(path)
    assert [peer.name for peer in config.callers] == ["archive", "modality", "storescu"]
    assert [peer.name for peer in config.committers] == ["archive", "modality"]
