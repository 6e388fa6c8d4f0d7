"""The service of a module's tests, which have studies of their own."""

from collections.abc import Iterator

import pytest

from tests.servers.dicomweb.site import Service, running_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, answering."""
    with running_service(tmp_path_factory.mktemp("service")) as answering:
        yield answering
