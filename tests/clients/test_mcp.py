"""The tools for assistants, used by the reference client of the Model Context Protocol, over both transports."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp
import pytest
from mcp import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import serving

JPEG = b"\xff\xd8\xff"


@asynccontextmanager
async def over_stdio(server: serving.Served, **options: Any) -> AsyncIterator[mcp.Client]:
    started = StdioServerParameters(
        command=serving.program("bt-server"),
        args=["mcp", "--index", str(server.index)],
        env=serving.environment(server.album),
    )
    async with mcp.Client(started, **options) as client:
        yield client


@asynccontextmanager
async def over_http(server: serving.Served, **options: Any) -> AsyncIterator[mcp.Client]:
    headers = {"authorization": f"Bearer {serving.READ}"}
    async with httpx2.AsyncClient(headers=headers, timeout=serving.LIMIT) as http:
        async with mcp.Client(streamable_http_client(f"{server.url}/mcp", http_client=http), **options) as client:
            yield client


Story = Callable[[mcp.Client], Awaitable[None]]


@pytest.fixture(params=[over_stdio, over_http], ids=["stdio", "http"])
def ask(request: pytest.FixtureRequest, server: serving.Served) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def told() -> None:
            async with request.param(server) as client:
                await story(client)

        anyio.run(told)

    return run


def texts(result: Any) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


def pictures(result: Any) -> list[bytes]:
    blocks = [block for block in result.content if block.type == "image"]
    assert all(block.mime_type == "image/jpeg" for block in blocks)
    return [base64.b64decode(block.data) for block in blocks]


def test_the_tools_say_what_they_are_for(ask: Callable[[Story], None]) -> None:
    async def story(client: mcp.Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert sorted(tools) == ["get_picture", "index_status", "search_pictures", "similar_pictures"]
        for tool in tools.values():
            assert tool.description and len(tool.description) > 60
            assert tool.annotations is not None and tool.annotations.read_only_hint is True
            for name, schema in tool.input_schema.get("properties", {}).items():
                assert schema.get("description"), f"{tool.name}: {name} is not described"
        assert tools["search_pictures"].input_schema["required"] == ["text"]

    ask(story)


def test_words_find_pictures_and_show_them(ask: Callable[[Story], None], couch: Path) -> None:
    async def story(client: mcp.Client) -> None:
        result = await client.call_tool("search_pictures", {"text": "a cat on a couch", "n": 4})
        assert not result.is_error
        found = result.structured_content
        assert found is not None
        assert str(couch) in [row["path"] for row in found["results"]]
        assert len(found["results"]) <= 4
        shown = pictures(result)
        assert len(shown) == len(found["results"]) and all(one.startswith(JPEG) for one in shown)
        assert str(couch) in texts(result) and found["results"][0]["id"] in texts(result)

        bare = await client.call_tool("search_pictures", {"text": "a cat on a couch", "thumbnails": False})
        assert not pictures(bare) and bare.structured_content["results"]

    ask(story)


def test_nothing_here_shows_that_is_an_answer_and_no_error(ask: Callable[[Story], None]) -> None:
    async def story(client: mcp.Client) -> None:
        result = await client.call_tool("search_pictures", {"text": "a cat", "min_score": 0.99999})
        assert not result.is_error and not pictures(result)
        assert result.structured_content["results"] == []
        assert "nothing" in texts(result).lower()

    ask(story)


def test_a_picture_by_its_id_and_pictures_like_it(ask: Callable[[Story], None], couch: Path) -> None:
    async def story(client: mcp.Client) -> None:
        found = await client.call_tool("search_pictures", {"text": "a cat on a couch"})
        wanted = next(row for row in found.structured_content["results"] if row["path"] == str(couch))
        one = await client.call_tool("get_picture", {"id": wanted["id"]})
        assert one.structured_content["path"] == str(couch)
        assert len(pictures(one)) == 1 and len(pictures(one)[0]) > len(pictures(found)[0]) / 2
        others = await client.call_tool("similar_pictures", {"id": wanted["id"], "n": 3})
        ids = [row["id"] for row in others.structured_content["results"]]
        assert len(ids) == len(pictures(others)) == 3 and wanted["id"] not in ids

    ask(story)


def test_filters_limit_what_is_found(ask: Callable[[Story], None]) -> None:
    async def story(client: mcp.Client) -> None:
        folder = str(serving.ROOT / "samples" / "food")
        result = await client.call_tool(
            "search_pictures",
            {"text": "food", "folders": [folder], "not": ["a dog"], "min_score": 0.0, "thumbnails": False},
        )
        assert not result.is_error, texts(result)
        rows = result.structured_content["results"]
        assert rows and all(row["path"].startswith(folder) for row in rows)

    ask(story)


def test_the_state_of_the_index_is_told(ask: Callable[[Story], None]) -> None:
    async def story(client: mcp.Client) -> None:
        result = await client.call_tool("index_status", {})
        (index,) = result.structured_content["indexes"]
        assert index["pictures"] > 70 and index["model"]

    ask(story)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("get_picture", {"id": "0" * 64}, "0000"),
        ("get_picture", {"id": "a cat"}, "64 hexadecimal"),
        ("similar_pictures", {"id": "0" * 64}, "0000"),
        ("search_pictures", {"text": "a cat", "after": "yesterday"}, "yesterday"),
        ("search_pictures", {"text": "a cat", "index": "nowhere"}, "nowhere"),
        ("search_pictures", {"text": "   "}, "search_pictures"),
    ],
)
def test_what_goes_wrong_is_told_so_that_an_assistant_can_do_better(
    ask: Callable[[Story], None], tool: str, arguments: dict[str, Any], said: str
) -> None:
    async def story(client: mcp.Client) -> None:
        result = await client.call_tool(tool, arguments)
        assert result.is_error and said in texts(result), texts(result)

    ask(story)


def test_over_http_a_token_is_needed(server: serving.Served) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"accept": "application/json, text/event-stream"}
    for headers in (accept, {**accept, "authorization": "Bearer not-a-token-of-this-server"}):
        answer = httpx2.post(f"{server.url}/mcp", json=body, headers=headers)
        assert answer.status_code == 401


def test_older_and_newer_clients_are_understood(server: serving.Served) -> None:
    async def asked(mode: str) -> int:
        async with over_http(server, mode=mode) as client:
            return len((await client.list_tools()).tools)

    async def all_modes() -> None:
        for mode in ("auto", "legacy"):
            assert await asked(mode) == 4

    anyio.run(all_modes)
