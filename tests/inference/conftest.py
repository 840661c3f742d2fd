"""What several tests of the serving side need."""

from collections.abc import Iterator

import pytest

from tests.services import Service, fresh_database, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with postgres_server() as service:
        yield service


@pytest.fixture
def shared(server: Service) -> Iterator[str]:
    """A PostgreSQL ledger of its own."""
    with fresh_database(server.url) as url:
        yield url
