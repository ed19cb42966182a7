"""The client for asyncio and trio: that of ``sync``, awaited. Made from it by ``make_async.py``: edit that."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import httpx

from . import calls
from .calls import Call, EmbedLike, Filter, ImageLike
from .errors import Overloaded
from .models import Facets, Image, Index, Listing, Picture, Ranked, Result, Results, Status, Uploaded, Word, parse
from .transport import Events, check, image_of, json_of, judged, settings, unreachable, wait_before

__all__ = ["AsyncClient", "AsyncFoundRow", "AsyncListingPage", "AsyncPictureRow", "AsyncResultsPage"]


class _Row(Picture):
    """What can be done with a picture of an index."""

    _client: AsyncClient

    async def thumbnail(self, w: int = 320) -> Image:
        """A small JPEG, at least ``w`` pixels wide where the picture is."""
        return await self._client.thumbnail(self, w)

    async def file(self) -> Image:
        """The file as it is."""
        return await self._client.file(self)

    async def why(self, text: str, word: int | None = None) -> Image:
        """Where in the picture the words were found: a heat map of one word, by its place, or of the last one."""
        words = await self._client.words(self, text)
        which = len(words) - 1 if word is None else word
        return await self._client.why(self, text, which)

    async def similar(self, n: int | None = None) -> AsyncResultsPage:
        """Pictures that look like this one."""
        return await self._client.similar(self, n=n)


@dataclass(kw_only=True)
class AsyncPictureRow(_Row):
    """A picture of an index, with a way to its bytes."""

    _client: AsyncClient = field(repr=False, compare=False, metadata={"json": None})


@dataclass(kw_only=True)
class AsyncFoundRow(_Row, Result):
    """A result, with a way to its bytes."""

    _client: AsyncClient = field(repr=False, compare=False, metadata={"json": None})


@dataclass(kw_only=True)
class AsyncResultsPage(Results[AsyncFoundRow]):
    """The answer to a query."""

    _client: AsyncClient = field(repr=False, compare=False, metadata={"json": None})
    _call: Call = field(repr=False, compare=False, metadata={"json": None})

    async def next_page(self) -> AsyncResultsPage | None:
        """The next page; None after the last."""
        return None if self.next is None else await self._client._results(self._call.page(self.next))

    async def fetch_thumbnails(self) -> None:
        """Fetches what a notebook shows of these rows."""
        self._thumbnails = {row.id: await row.thumbnail() for row in self.results}


@dataclass(kw_only=True)
class AsyncListingPage(Listing[AsyncPictureRow]):
    """A page of pictures without a query."""

    _client: AsyncClient = field(repr=False, compare=False, metadata={"json": None})
    _call: Call = field(repr=False, compare=False, metadata={"json": None})

    async def next_page(self) -> AsyncListingPage | None:
        """The next page; None after the last."""
        return None if self.next is None else await self._client._listing(self._call.page(self.next))

    async def fetch_thumbnails(self) -> None:
        """Fetches what a notebook shows of these rows."""
        self._thumbnails = {row.id: await row.thumbnail() for row in self.results}


class AsyncClient:
    """A client of bt-server.

    >>> client = AsyncClient("http://127.0.0.1:7871")
    >>> for row in await client.search("a cat on a couch"):
    ...     print(row.path, row.score)

    ``retries`` is how often a request is sent again when the server is overloaded (it says when to). An index is
    named with ``index=``; without it, that of the rows that are given is asked, else the server's first one. Safe to
    share between threads; close it, or use it in a ``with``.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 3,
    ) -> None:
        self._http = httpx.AsyncClient(**settings(url, token, timeout))
        self._retries = retries

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def search(
        self,
        text: str | None = None,
        *,
        image: ImageLike | None = None,
        not_: str | Iterable[str] = (),
        filter: Filter | None = None,
        n: int | None = None,
        cursor: str | None = None,
        rerank: int | None = None,
        min_score: float | None = None,
        all: bool = False,
        exact: bool = False,
        explain: bool = False,
        group: bool = False,
        sort: str | None = None,
        index: str | None = None,
    ) -> AsyncResultsPage:
        """Finds pictures by words, by a picture, or by both.

        ``not_``: what should not be seen. ``rerank``: how many candidates are read together with the words.
        ``all``: leave nothing out; else what falls under ``min_score`` (by default the model's threshold) is.
        ``group``: fold near-duplicates. ``sort``: ``relevance`` or ``date``.
        """
        # fmt: off
        return await self._results(calls.search(
            text, image=image, not_=not_, filter=filter, n=n, cursor=cursor, rerank=rerank, min_score=min_score,
            all=all, exact=exact, explain=explain, group=group, sort=sort, index=index,
        ))
        # fmt: on

    async def search_pages(self, text: str | None = None, **options: Any) -> AsyncIterator[AsyncFoundRow]:
        """All results, page by page as they are taken; options as for ``search``."""
        page: AsyncResultsPage | None = await self.search(text, **options)
        while page is not None:
            for row in page:
                yield row
            page = await page.next_page()

    async def search_live(self, text: str | None = None, **options: Any) -> AsyncIterator[tuple[str, AsyncResultsPage]]:
        """Yields ``("candidates", page)`` at once, found by embedding alone, then, as the closer look goes on,
        ``("progress", page)``, the same rows with the scores of the first ``page.looked_at`` candidates as they will
        be, and last ``("results", page)``, reranked; options as for ``search``."""
        call = replace(calls.search(text, **options), accept="text/event-stream")
        events = Events()
        candidates: dict[str, Any] = {"results": []}
        async with aclosing(await self._send(call, stream=True)) as response:
            try:
                async for line in response.aiter_lines():
                    event = events.line(line)
                    if event is None:
                        continue
                    name, document = event
                    if name == "candidates":
                        candidates = document
                    elif name == "progress":
                        document = candidates = judged(candidates, document)
                    yield name, self._page(call, document)
            except httpx.TransportError as error:
                raise unreachable(error, self._http.base_url) from error

    async def similar(
        self,
        image: str | Picture,
        *,
        n: int | None = None,
        filter: Filter | None = None,
        cursor: str | None = None,
        index: str | None = None,
    ) -> AsyncResultsPage:
        """Pictures that look like one of the index."""
        return await self._results(calls.similar(image, n=n, filter=filter, cursor=cursor, index=index))

    async def browse(
        self,
        *,
        sort: str | None = None,
        n: int | None = None,
        filter: Filter | None = None,
        cursor: str | None = None,
        index: str | None = None,
    ) -> AsyncListingPage:
        """Pictures without a query: by ``date``, newest first, or by ``path``."""
        return await self._listing(calls.browse(sort=sort, n=n, filter=filter, cursor=cursor, index=index))

    async def browse_pages(self, **options: Any) -> AsyncIterator[AsyncPictureRow]:
        """All pictures, page by page as they are taken; options as for ``browse``."""
        page: AsyncListingPage | None = await self.browse(**options)
        while page is not None:
            for row in page:
                yield row
            page = await page.next_page()

    async def facets(self, filter: Filter | None = None, index: str | None = None) -> Facets:
        """What the pictures can be filtered by, with counts."""
        return parse(Facets, await self._json(calls.facets(filter, index)))

    async def picture(self, image: str | Picture, *, index: str | None = None) -> AsyncPictureRow:
        """What is known of a picture."""
        document = await self._json(calls.picture(image, index))
        return parse(AsyncPictureRow, document, _client=self)

    async def thumbnail(self, image: str | Picture, w: int = 320, *, index: str | None = None) -> Image:
        """A small JPEG of a picture."""
        return await self._image(calls.thumbnail(image, w, index))

    async def file(self, image: str | Picture, *, index: str | None = None) -> Image:
        """The file of a picture as it is."""
        return await self._image(calls.file(image, index))

    async def words(self, image: str | Picture, text: str, *, index: str | None = None) -> list[Word]:
        """The words of a text that a heat map can be painted for."""
        document = await self._json(calls.why(image, text, None, index))
        return [parse(Word, word) for word in document["words"]]

    async def why(self, image: str | Picture, text: str, word: int, *, index: str | None = None) -> Image:
        """Where in a picture a word was found: a heat map; ``word`` counts the list that ``words`` gives."""
        return await self._image(calls.why(image, text, word, index))

    async def upload(self, image: EmbedLike, caption: str | None = None, *, index: str | None = None) -> Uploaded:
        """Puts a picture into the album of the server, and waits until it can be found. Needs a write token."""
        return parse(Uploaded, await self._json(calls.upload(image, caption, index)))

    async def delete(self, image: str | Picture, *, index: str | None = None) -> None:
        """Takes a picture out of the album. Needs a write token."""
        await self._send(calls.delete(image, index))

    async def export(
        self,
        images: Iterable[str | Picture],
        to: str | os.PathLike[str],
        *,
        index: str | None = None,
    ) -> Path:
        """Writes the files of some pictures, all of one index, into a zip archive."""
        path = Path(to)
        async with aclosing(await self._send(calls.export(images, index), stream=True)) as response:
            try:
                with path.open("wb") as archive:
                    async for chunk in response.aiter_bytes():
                        archive.write(chunk)
            except httpx.TransportError as error:
                raise unreachable(error, self._http.base_url) from error
        return path

    async def embed(self, inputs: EmbedLike | Sequence[EmbedLike], *, index: str | None = None) -> list[list[float]]:
        """Embeddings of unit length, one for each text or picture, in one space."""
        return cast("list[list[float]]", await self._json(calls.embed(inputs, index)))

    async def rerank(
        self,
        text: str | None = None,
        images: Sequence[ImageLike] | None = None,
        *,
        image: ImageLike | None = None,
        texts: Sequence[str] | None = None,
        raw_scores: bool = False,
        index: str | None = None,
    ) -> list[Ranked]:
        """How well pictures match a text, or texts a picture; best first."""
        # fmt: off
        document = await self._json(calls.rerank(
            text, images=images, image=image, texts=texts, raw_scores=raw_scores, index=index,
        ))
        # fmt: on
        return [parse(Ranked, one) for one in document]

    async def features(self, text: str, image: ImageLike, *, index: str | None = None) -> dict[str, Any]:
        """What the model makes of a text and a picture: its pooled states and the outputs of its heads."""
        return cast("dict[str, Any]", await self._json(calls.features(text, image, index)))

    async def indexes(self) -> list[Index]:
        """The indexes of the server; the first one is asked when none is named."""
        return [parse(Index, one) for one in await self._json(calls.get("/v1/indexes"))]

    async def status(self) -> Status:
        """State of the server and of its indexes."""
        return parse(Status, await self._json(calls.get("/v1/status")))

    async def _send(self, call: Call, *, stream: bool = False) -> httpx.Response:
        """The answer; the body of a ``stream`` is not read yet, and whoever asked for it closes it."""
        attempt = 0
        while True:
            request = self._http.build_request(call.method, call.path, **call.keywords())
            try:
                response = await self._http.send(request, stream=stream)
                if not response.is_success:
                    await response.aread()
            except httpx.TransportError as error:
                raise unreachable(error, self._http.base_url) from error
            try:
                return check(response)
            except Overloaded as error:
                if attempt >= self._retries:
                    raise
                await anyio.sleep(wait_before(attempt, error))
                attempt += 1

    async def _json(self, call: Call) -> Any:
        return json_of(await self._send(call))

    async def _image(self, call: Call) -> Image:
        return image_of(await self._send(call))

    async def _results(self, call: Call) -> AsyncResultsPage:
        return self._page(call, await self._json(call))

    def _page(self, call: Call, document: Any) -> AsyncResultsPage:
        page = parse(AsyncResultsPage, {**document, "results": []}, _client=self, _call=call)
        page.results = [parse(AsyncFoundRow, row, _client=self) for row in document["results"]]
        return page

    async def _listing(self, call: Call) -> AsyncListingPage:
        document = await self._json(call)
        page = parse(AsyncListingPage, {**document, "results": []}, _client=self, _call=call)
        page.results = [parse(AsyncPictureRow, row, _client=self) for row in document["results"]]
        return page
