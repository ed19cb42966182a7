"""One server for all tests, on a fresh index of samples/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import serving
from bridgetower_search import Client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Served]:
    folder = tmp_path_factory.mktemp("served")
    served = serving.serve(folder, serving.make_index(folder))
    yield served
    assert served.stop() == 0, served.log.read_text(errors="replace")


@pytest.fixture
def client(server: serving.Served) -> Iterator[Client]:
    with Client(server.url, serving.READ) as client:
        yield client


@pytest.fixture
def writer(server: serving.Served) -> Iterator[Client]:
    with Client(server.url, serving.WRITE) as client:
        yield client


@pytest.fixture
def couch() -> Path:
    """The sample that shows a cat on a couch."""
    return serving.ROOT / "samples" / "home" / "IMG_0012.jpg"
