"""Rows of a server with several indexes: what is done with one is asked in its own index."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import serving
from bridgetower_search import Client, NotFound

SAMPLES = serving.ROOT / "samples"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server whose second index, `other`, has pictures that the first one lacks."""
    folder, other = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("other")
    flags = ["--index", f"other={serving.make_index(other, SAMPLES / 'sports')}", "--album", f"other={other}"]
    served = serving.serve(folder, serving.make_index(folder, SAMPLES / "night"), *flags)
    yield served.url
    assert served.stop() == 0, served.log.read_text(errors="replace")


@pytest.fixture
def client(two: str) -> Iterator[Client]:
    with Client(two, serving.WRITE) as client:
        yield client


def test_what_is_done_with_a_row_is_asked_in_its_index(client: Client, tmp_path: Path) -> None:
    for row in (client.search("a ball", n=1, all=True, index="other")[0], client.browse(n=1, index="other")[0]):
        assert row.index == "other"
        with pytest.raises(NotFound):
            client.picture(row.id)
        assert client.picture(row).id == row.id and client.picture(row).index == "other"
        assert client.thumbnail(row) == row.thumbnail()
        assert client.file(row) == row.file() == Path(str(row.path)).read_bytes()
        assert client.words(row, "a ball")
        others = client.similar(row, n=2)
        assert others.index == "other" and len(others) == 2
        assert [one.id for one in client.search(image=row, n=2)] == [one.id for one in others]
        assert client.rerank("a ball", [row])[0].index == 0
        assert client.features("a ball", row)
        archive = zipfile.ZipFile(client.export([row], tmp_path / "found.zip"))
        assert Path(archive.namelist()[0]).name == Path(str(row.path)).name


def test_a_row_is_deleted_from_its_index(client: Client) -> None:
    sent = client.upload(SAMPLES / "home" / "IMG_0012.jpg", index="other")
    client.delete(client.picture(sent.id, index="other"))
    with pytest.raises(NotFound):
        client.picture(sent.id, index="other")


def test_rows_of_several_indexes_are_no_one_request(client: Client, tmp_path: Path) -> None:
    rows = [client.browse(n=1)[0], client.browse(n=1, index="other")[0]]
    with pytest.raises(ValueError, match="several indexes"):
        client.export(rows, tmp_path / "found.zip")
    with pytest.raises(ValueError, match="several indexes"):
        client.rerank("a ball", rows)
    with pytest.raises(NotFound):
        client.export(rows, tmp_path / "found.zip", index="other")


def test_an_index_that_is_named_is_asked_whatever_the_row(client: Client) -> None:
    row = client.browse(n=1, index="other")[0]
    with pytest.raises(NotFound):
        client.thumbnail(row, index=client.indexes()[0].name)
