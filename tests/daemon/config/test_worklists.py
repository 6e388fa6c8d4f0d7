"""The address and the keys of a worklist fit its kind."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.config.partners.worklist import WorklistConfig

DIMSE = {
    "name": "ris",
    "kind": "dimse",
    "source": "north",
    "ae_title": "RIS",
    "host": "h",
    "port": 104,
}
WEB = {"name": "ris", "kind": "web", "source": "north", "url": "https://ris.example.org/dicom-web"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({**DIMSE, "port": None}, "set ae_title, host and port, not url"),
        ({**DIMSE, "url": WEB["url"]}, "set ae_title, host and port, not url"),
        ({**DIMSE, "token": "a" * 20}, "token is for kind web alone"),
        ({**DIMSE, "ca": "ca.pem"}, "ca is for kind web alone"),
        ({**WEB, "url": None}, "set url, not ae_title, host and port"),
        ({**WEB, "host": "h"}, "set url, not ae_title, host and port"),
        ({**WEB, "url": "ftp://h/x"}, "url is the address of the service alone"),
        ({**WEB, "url": "https://user:word@h/x"}, "url is the address of the service alone"),
        ({**WEB, "url": "https://h/x?token=1"}, "url is the address of the service alone"),
        ({**WEB, "url": "http://h/x"}, "url is not encrypted"),
        ({**WEB, "subscribe": True}, "by which no events come"),
        ({**WEB, "token": "a" * 20, "token_file": "f"}, "set token or token_file, not both"),
    ],
)
def test_a_worklist_that_does_not_fit_its_kind_is_refused(
    values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        WorklistConfig.model_validate(values)
    assert "word" not in str(caught.value)


def test_the_token_of_a_web_worklist_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of this test\n", encoding="utf-8")
    worklist = WorklistConfig.model_validate({**WEB, "token_file": "secret", "ca": "ca.pem"})
    found = worklist.resolved(tmp_path)
    assert found.token is not None
    assert found.token.get_secret_value() == "of this test"
    assert found.ca == tmp_path / "ca.pem"
    assert "of this test" not in repr(found)


def test_http_is_allowed_where_the_operator_says_so() -> None:
    values = {**WEB, "url": "http://h/x", "allow_http": True}
    assert WorklistConfig.model_validate(values).url == "http://h/x"
