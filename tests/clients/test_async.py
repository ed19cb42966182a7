"""The asynchronous client: it is made from the synchronous one, so here is what is different in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import serving
from bridgetower_search import AsyncClient, Client, NotFound


def test_it_is_made_from_the_synchronous_one() -> None:
    script = serving.ROOT / "clients" / "python" / "make_async.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


def test_it_answers_as_the_synchronous_one_does(server: serving.Served, client: Client, couch: Path) -> None:
    async def asked() -> None:
        async with AsyncClient(server.url, serving.READ) as other:
            page = await other.search("a cat on a couch", n=5)
            assert [row.id for row in page] == [row.id for row in client.search("a cat on a couch", n=5)]
            assert await page[0].thumbnail() == client.thumbnail(page[0])
            assert await page[0].why("a cat") == client.search("a cat on a couch", n=1)[0].why("a cat")
            assert "<img" not in page._repr_html_()
            await page.fetch_thumbnails()
            assert page._repr_html_().count("<img") == len(page)
            assert (await other.search(image=couch, n=1))[0].path == str(couch)
            rows = [row.id async for row in other.browse_pages(n=50)]
            assert rows == [row.id for row in client.browse_pages(n=50)]
            events = [name async for name, _ in other.search_live("a cat, asked step by step", n=1)]
            assert events[0] == "candidates" and set(events[1:-1]) == {"progress"} and events[-1] == "results"
            with pytest.raises(NotFound):
                await other.picture("0" * 64)

    anyio.run(asked)


def test_many_questions_at_once_get_their_own_answers(server: serving.Served) -> None:
    wanted = ["a cat", "a castle", "pizza", "a boat"]
    alone: dict[str, list[str]] = {}
    together: dict[str, list[str]] = {}

    async def ask(client: AsyncClient, text: str, answers: dict[str, list[str]]) -> None:
        answers[text] = [row.id for row in await client.search(text, n=3, all=True)]

    async def asked() -> None:
        async with AsyncClient(server.url, serving.READ) as client:
            async with anyio.create_task_group() as group:
                for text in wanted:
                    group.start_soon(ask, client, text, together)
            for text in wanted:
                await ask(client, text, alone)

    anyio.run(asked)
    assert together == alone
