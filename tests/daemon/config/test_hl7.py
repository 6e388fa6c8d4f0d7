from typing import Any

import pytest
from pydantic import ValidationError

from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.hl7 import Hl7Config
from daemon.config.partners.hl7_messages import ResultStatus, SentCharset
from daemon.config.settings import Config

PIN = "ab" * 32
SENDER: dict[str, Any] = {"name": "adt", "hosts": ["10.0.0.5"], "sources": ["storescu"]}
ARCHIVE: dict[str, Any] = {
    "name": "archive",
    "kind": "dicomweb",
    "url": "https://pacs/dicom-web",
    "receives": ["report"],
}
RIS: dict[str, Any] = {
    "name": "ris",
    "kind": "hl7",
    "host": "ris",
    "port": 2575,
    "receives": ["report"],
}


def section(**keys: Any) -> Hl7Config:
    return Hl7Config.model_validate({"port": 2575, "senders": [SENDER]} | keys)


def test_the_server_is_off_by_default() -> None:
    assert Config().hl7.port is None


def test_a_sender_needs_hosts_and_sources_only() -> None:
    (sender,) = section().senders
    assert sender.hosts == ("10.0.0.5",)
    assert sender.issuer_of_films is None
    assert section(senders=[SENDER | {"charset": "8859/1"}]).senders[0].charset == "8859/1"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"senders": []}, "no system may send: list them in hl7.senders"),
        ({"senders": [SENDER, SENDER]}, "two hl7 senders are named adt"),
        ({"senders": [SENDER | {"charset": "EBCDIC"}]}, "charset EBCDIC is not read; known are"),
        ({"senders": [SENDER | {"hosts": []}]}, "at least 1 item"),
        ({"senders": [SENDER | {"sources": []}]}, "at least 1 item"),
        ({"senders": [SENDER | {"certificate_sha256": [PIN]}]}, "hl7.tls is false: set it to true"),
    ],
)
def test_an_incomplete_section_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section(**keys)


@pytest.mark.parametrize(
    ("hl7", "message"),
    [
        ({"senders": [SENDER | {"sources": ["north"]}]}, "'north', which is the source of no peer"),
        ({"tls": True}, "hl7.tls needs tls.certificate, tls.key and tls.ca"),
        ({"port": 11112}, "hl7.port 11112 of 127.0.0.1 is also a port of listener or web"),
        ({"port": 8080}, "hl7.port 8080 of 127.0.0.1 is also a port of listener or web"),
    ],
)
def test_a_section_that_does_not_fit_the_others_is_refused(
    hl7: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(hl7=section(**hl7))


def test_a_destination_has_the_keys_of_its_messages() -> None:
    keys = {"receiving_facility": "HOSP^1.2.3^ISO", "result_status": "R", "charset": "8859/1"}
    ris = DestinationConfig.model_validate(RIS | keys)
    assert ris.result_status is ResultStatus.NOT_VERIFIED
    assert ris.charset is SentCharset.LATIN_1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"receiving_application": "A|B"}, "a name without delimiters of HL7"),
        ({"receiving_application": "A^1^ISO^X"}, "a name without delimiters of HL7"),
        ({"sending_facility": ""}, "a name without delimiters of HL7"),
        ({"result_status": "X"}, "Input should be 'P', 'R' or 'F'"),
        ({"charset": "UTF-16"}, "Input should be 'ASCII'"),
    ],
)
def test_a_value_that_a_message_cannot_hold_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DestinationConfig.model_validate(RIS | keys)


def test_a_key_of_hl7_at_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="result_status is for kind hl7 alone"):
        DestinationConfig.model_validate(ARCHIVE | {"result_status": "P"})
