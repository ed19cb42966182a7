"""What the Python client makes of refusals, of a busy server, and of no server at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
import pytest

import serving
from bridgetower_search import (
    AsyncClient,
    Client,
    NotFound,
    Overloaded,
    Problem,
    SearchError,
    Unauthorized,
    Unreachable,
)


def test_a_problem_tells_what_the_server_said(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.picture("0" * 64)
    problem = caught.value
    assert problem.status == 404 and problem.type == "/problems/not-found"
    assert problem.title and problem.detail in str(problem)


def test_without_a_known_token_nothing_is_told(server: serving.Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BT_TOKEN", raising=False)
    for token in (None, "not-a-token-of-this-server"):
        with Client(server.url, token) as client, pytest.raises(Unauthorized) as caught:
            client.search("a cat")
        assert caught.value.hint
    with Client(server.url) as client, pytest.raises(Unauthorized):
        list(client.search_live("a cat"))
    monkeypatch.setenv("BT_TOKEN", serving.READ)
    with Client(server.url) as client:
        assert client.search("a cat", n=1, all=True)


def test_no_server_is_told_with_its_address(server: serving.Served) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match="127.0.0.1:9"):
        client.search("a cat")


class Busy(BaseHTTPRequestHandler):
    """Refuses twice, then answers; a picture is always a broken gateway."""

    asked = 0
    answers = {
        "/v1/features": (b"{}", "application/json"),
        "/v1/search": (b'event: results\ndata: {"results": [], "pictures": 7}\n\n', "text/event-stream"),
        "/v1/export": (b"an archive", "application/zip"),
    }

    def do_GET(self) -> None:
        self.answer(502, b"<h1>Bad Gateway</h1>", "text/html")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        if type(self).asked <= 2:
            return self.answer(429, b'{"title": "Too much", "status": 429}', "application/problem+json")
        return self.answer(200, *self.answers[self.path])

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[str]:
    Busy.asked = 0
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_overloaded_server_is_asked_again(busy: str) -> None:
    with Client(busy, retries=2) as client:
        assert client.features("a cat", "0" * 64) == {}
    assert Busy.asked == 3


def test_it_is_asked_again_for_what_comes_piece_by_piece(busy: str, tmp_path: Path) -> None:
    with Client(busy, retries=2) as client:
        assert [(name, page.pictures) for name, page in client.search_live("a cat")] == [("results", 7)]
        assert Busy.asked == 3
        Busy.asked = 0
        assert client.export(["0" * 64], tmp_path / "found.zip").read_bytes() == b"an archive"
        assert Busy.asked == 3


def test_the_asynchronous_client_asks_again_as_well(busy: str, tmp_path: Path) -> None:
    async def asked() -> None:
        async with AsyncClient(busy, retries=2) as client:
            assert [(name, page.pictures) async for name, page in client.search_live("a cat")] == [("results", 7)]
            assert Busy.asked == 3
            Busy.asked = 0
            archive = await client.export(["0" * 64], tmp_path / "found.zip")
            assert archive.read_bytes() == b"an archive" and Busy.asked == 3

    anyio.run(asked)


def test_a_server_that_stays_overloaded_is_an_exception(busy: str, tmp_path: Path) -> None:
    with Client(busy, retries=1) as client, pytest.raises(Overloaded) as caught:
        client.features("a cat", "0" * 64)
    assert caught.value.retry_after == 0.0 and Busy.asked == 2
    Busy.asked = 0
    with Client(busy, retries=1) as client, pytest.raises(Overloaded):
        client.export(["0" * 64], tmp_path / "found.zip")
    assert not (tmp_path / "found.zip").exists()


def test_an_answer_of_somebody_else_is_told_as_it_is(busy: str) -> None:
    with Client(busy) as client, pytest.raises(Problem) as caught:
        client.picture("0" * 64)
    assert caught.value.status == 502 and "Bad Gateway" in caught.value.detail
    assert issubclass(Problem, SearchError)
