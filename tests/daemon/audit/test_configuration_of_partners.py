import json

from daemon.audit.configuration import describe
from daemon.config.partners.destination import DestinationConfig
from daemon.config.settings import Config


def test_destinations_are_recorded_by_name_without_their_tokens() -> None:
    destination = DestinationConfig.model_validate(
        {
            "name": "ehr",
            "kind": "fhir",
            "url": "https://ehr.example.org/fhir",
            "version": "R5",
            "receives": ["report"],
            "token": "secret-of-the-server",
            "ca": "/etc/ca.pem",
        }
    )
    described = describe(Config(destinations=(destination,)), "00" * 16)
    assert described["destinations.ehr.url"] == "https://ehr.example.org/fhir"
    assert described["destinations.ehr.ca"] == "/etc/ca.pem"
    assert described["destinations.ehr.token"].startswith("scrypt:")
    assert "secret-of-the-server" not in json.dumps(described)
