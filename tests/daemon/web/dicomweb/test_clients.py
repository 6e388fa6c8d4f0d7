"""The clients of DICOMweb: found by token, certificate or address, and no one else."""

from typing import Any

import pytest
from starlette.datastructures import Headers

from daemon.audit.logins import LoginOutcome
from daemon.config.partners.dicomweb import DicomwebConfig
from daemon.errors import ConfigError
from daemon.web.access.throttle import FAILURES
from daemon.web.dicomweb.clients import Clients, UnknownClientError

TOKEN = "a-token-of-enough-characters"  # noqa: S105
DIGEST = "ab" * 32


class Logins(list[tuple[str, LoginOutcome, str]]):
    def __call__(self, host: str, outcome: LoginOutcome, name: str) -> None:
        self.append((host, outcome, name))


@pytest.fixture
def logins() -> Logins:
    return Logins()


def clients_of(logins: Logins, *clients: dict[str, Any], **more: Any) -> Clients:
    config = DicomwebConfig.model_validate({"clients": clients, **more})
    return Clients(config, logins, lambda: 0.0)


def bearer(token: str) -> Headers:
    return Headers({"Authorization": f"Bearer {token}"})


WARD = {"name": "ward", "token": TOKEN, "stores": True, "hosts": ["10.1.0.0/16"]}
BARE = {"name": "unit", "stores": True, "hosts": ["192.0.2.7"]}
SHOWN = {"name": "archive", "certificate_sha256": [DIGEST], "reads": ["ward"]}


def test_a_token_counts_from_the_hosts_of_its_client_alone(logins: Logins) -> None:
    clients = clients_of(logins, WARD)
    assert clients.find(bearer(TOKEN), "10.1.2.3").name == "ward"
    assert clients.find(bearer(TOKEN), "::ffff:10.1.2.3").name == "ward"
    with pytest.raises(UnknownClientError, match="not from this address"):
        clients.find(bearer(TOKEN), "10.2.2.3")
    assert logins == [
        ("10.1.2.3", LoginOutcome.BEARER, "ward"),
        ("10.2.2.3", LoginOutcome.REFUSED, "ward"),
    ]


def test_an_address_alone_is_enough_for_a_client_without_a_secret(logins: Logins) -> None:
    clients = clients_of(logins, WARD, BARE)
    assert clients.find(Headers({}), "192.0.2.7").name == "unit"
    for headers, host in ((Headers({}), "10.1.2.3"), (bearer("wrong"), "192.0.2.7")):
        with pytest.raises(UnknownClientError):
            clients.find(headers, host)


def test_a_certificate_is_enough_unless_a_token_is_sent(logins: Logins) -> None:
    clients = clients_of(logins, WARD, SHOWN, ca="ca.pem")
    assert clients.find(Headers({}), "10.9.9.9", DIGEST).name == "archive"
    for headers, certificate in ((Headers({}), "cd" * 32), (bearer("wrong"), DIGEST)):
        with pytest.raises(UnknownClientError):
            clients.find(headers, "10.9.9.9", certificate)


def test_wrong_tokens_are_throttled_and_the_right_one_never(logins: Logins) -> None:
    clients = clients_of(logins, WARD)
    waits = []
    for _ in range(FAILURES + 1):
        with pytest.raises(UnknownClientError) as caught:
            clients.find(bearer("wrong"), "10.1.2.3")
        waits.append(caught.value.wait_seconds)
    assert waits == [0.0] * FAILURES + [60.0]
    assert clients.find(bearer(TOKEN), "10.1.2.3").name == "ward"
    assert logins[FAILURES] == ("10.1.2.3", LoginOutcome.THROTTLED, "")


@pytest.mark.parametrize("authorization", ["Basic d2FyZDo=", "Bearer", "Bearer ", "x" * 9000])
def test_another_authorization_is_of_no_client(logins: Logins, authorization: str) -> None:
    with pytest.raises(UnknownClientError):
        clients_of(logins, WARD, BARE).find(Headers({"Authorization": authorization}), "192.0.2.7")


def test_a_token_given_twice_is_refused(logins: Logins) -> None:
    with pytest.raises(ConfigError, match="same token"):
        clients_of(logins, WARD, {**WARD, "name": "twin"})
