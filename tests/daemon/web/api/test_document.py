"""The OpenAPI document describes each path for programs, and each answer is as it says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from daemon.web.api.document import HEALTH, described, path_of
from daemon.web.app import all_entries
from daemon.web.entry import Entry
from storage.files.folder_spool import FolderSpool
from storage.records import JobState
from tests.builders.stores.new import new_store
from tests.daemon.web.actions.operators import KEY, fill, site_with_operators
from tests.servers import website
from tests.servers.website import Site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

STUDY = "1.2.3"
"""The study of `website.fill`: analysed, refused and waiting films, a parked delivery."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("api")
    with new_store(folder / "cxrd.sqlite") as store:
        website.fill(store)
        for job in store.jobs.list(state=JobState.QUEUED):
            store.jobs.discard(job.id)
        fill(store, FolderSpool(folder / "spool"))
    with site_with_operators(folder) as site:
        yield site


@pytest.fixture(scope="module")
def document(filled: Site) -> dict[str, Any]:
    answer = filled.ask("/api/openapi.json")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.text)
    return found


def entries() -> list[Entry]:
    found = all_entries(MagicMock(), MagicMock(), MagicMock())
    chosen = described(found)
    for entry in found:
        if entry.path.startswith("/api/") or entry.path in HEALTH:
            assert entry in chosen
    return chosen


def test_the_document_is_openapi_and_names_every_entry(document: dict[str, Any]) -> None:
    validate(document)
    named = {(path, method) for path, of in document["paths"].items() for method in of}
    assert named == {(path_of(entry), entry.method.lower()) for entry in entries()}
    for entry in entries():
        operation = document["paths"][path_of(entry)][entry.method.lower()]
        assert operation["summary"] == entry.summary
        assert operation.get("x-role") == (str(entry.role) if entry.role is not None else None)
        assert operation["security"] or entry.role is None
        named_here = {one["name"] for one in operation["parameters"]}
        assert named_here >= {one.name for one in entry.parameters}
        takes_json = entry.method == "POST" and entry.path.startswith("/api/")
        assert ("requestBody" in operation) is takes_json, entry.path
    identities = [one["operationId"] for of in document["paths"].values() for one in of.values()]
    assert len(identities) == len(set(identities))


def test_every_answer_is_as_its_schema_says(filled: Site, document: dict[str, Any]) -> None:
    checked = 0
    for path, methods in document["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content")
        if content is None or not path.startswith("/api/"):
            continue
        schema = content["application/json"]["schema"]
        validator = Draft202012Validator({"components": document["components"], **schema})
        for uid, number in ((STUDY, 1), (KEY.study_instance_uid, 4)):
            query = "&".join(
                f"{one['name']}=0"
                for one in methods["get"]["parameters"]
                if one["in"] == "query" and one["required"]
            )
            asked = path.replace("{uid}", uid).replace("{number}", str(number))
            answer = filled.ask(f"{asked}?{query}")
            assert answer.status == 200, f"{asked}: {answer.text}"
            errors = [error.message for error in validator.iter_errors(json.loads(answer.text))]
            assert errors == [], asked
            checked += 1
    assert checked > 4


def test_a_wrong_answer_does_not_pass(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/JobsOutcome"}
    validator = Draft202012Validator({"components": document["components"], **reference})
    assert validator.is_valid({"done": [1], "refused": [{"job": 2, "reason": "x"}]})
    assert not validator.is_valid({"done": [1]})
    assert not validator.is_valid({"done": ["1"], "refused": []})


def test_the_page_shows_every_operation_and_object(filled: Site, document: dict[str, Any]) -> None:
    page = filled.ask("/api/docs").text
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f'id="{operation["operationId"]}"' in page
            assert f"Example of {method.upper()} {path}" in page
    for name in document["components"]["schemas"]:
        assert f'id="object-{name}"' in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
    assert "Authorization: Bearer $TOKEN" in page
