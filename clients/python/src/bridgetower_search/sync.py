"""The client for programs that wait. ``aio`` is made from this file by ``make_async.py``; a test compares them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx

from . import calls
from .calls import Call, EmbedLike, Filter, ImageLike
from .errors import Overloaded
from .models import Facets, Image, Index, Listing, Picture, Ranked, Result, Results, Status, Uploaded, Word, parse
from .transport import Events, check, image_of, json_of, judged, settings, unreachable, wait_before

__all__ = ["Client", "FoundRow", "ListingPage", "PictureRow", "ResultsPage"]


class _Row(Picture):
    """What can be done with a picture of an index."""

    _client: Client

    def thumbnail(self, w: int = 320) -> Image:
        """A small JPEG, at least ``w`` pixels wide where the picture is."""
        return self._client.thumbnail(self, w)

    def file(self) -> Image:
        """The file as it is."""
        return self._client.file(self)

    def why(self, text: str, word: int | None = None) -> Image:
        """Where in the picture the words were found: a heat map of one word, by its place, or of the last one."""
        words = self._client.words(self, text)
        which = len(words) - 1 if word is None else word
        return self._client.why(self, text, which)

    def similar(self, n: int | None = None) -> ResultsPage:
        """Pictures that look like this one."""
        return self._client.similar(self, n=n)


@dataclass(kw_only=True)
class PictureRow(_Row):
    """A picture of an index, with a way to its bytes."""

    _client: Client = field(repr=False, compare=False, metadata={"json": None})


@dataclass(kw_only=True)
class FoundRow(_Row, Result):
    """A result, with a way to its bytes."""

    _client: Client = field(repr=False, compare=False, metadata={"json": None})


@dataclass(kw_only=True)
class ResultsPage(Results[FoundRow]):
    """The answer to a query."""

    _client: Client = field(repr=False, compare=False, metadata={"json": None})
    _call: Call = field(repr=False, compare=False, metadata={"json": None})

    def next_page(self) -> ResultsPage | None:
        """The next page; None after the last."""
        return None if self.next is None else self._client._results(self._call.page(self.next))

    def fetch_thumbnails(self) -> None:
        """Fetches what a notebook shows of these rows."""
        self._thumbnails = {row.id: row.thumbnail() for row in self.results}

    # only here: a notebook does not wait for what is awaited
    def _repr_html_(self) -> str:
        self.fetch_thumbnails()
        return super()._repr_html_()

    # end


@dataclass(kw_only=True)
class ListingPage(Listing[PictureRow]):
    """A page of pictures without a query."""

    _client: Client = field(repr=False, compare=False, metadata={"json": None})
    _call: Call = field(repr=False, compare=False, metadata={"json": None})

    def next_page(self) -> ListingPage | None:
        """The next page; None after the last."""
        return None if self.next is None else self._client._listing(self._call.page(self.next))

    def fetch_thumbnails(self) -> None:
        """Fetches what a notebook shows of these rows."""
        self._thumbnails = {row.id: row.thumbnail() for row in self.results}

    # only here: a notebook does not wait for what is awaited
    def _repr_html_(self) -> str:
        self.fetch_thumbnails()
        return super()._repr_html_()

    # end


class Client:
    """A client of bt-server.

    >>> client = Client("http://127.0.0.1:7871")
    >>> for row in client.search("a cat on a couch"):
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
        self._http = httpx.Client(**settings(url, token, timeout))
        self._retries = retries

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def search(
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
    ) -> ResultsPage:
        """Finds pictures by words, by a picture, or by both.

        ``not_``: what should not be seen. ``rerank``: how many candidates are read together with the words.
        ``all``: leave nothing out; else what falls under ``min_score`` (by default the model's threshold) is.
        ``group``: fold near-duplicates. ``sort``: ``relevance`` or ``date``.
        """
        # fmt: off
        return self._results(calls.search(
            text, image=image, not_=not_, filter=filter, n=n, cursor=cursor, rerank=rerank, min_score=min_score,
            all=all, exact=exact, explain=explain, group=group, sort=sort, index=index,
        ))
        # fmt: on

    def search_pages(self, text: str | None = None, **options: Any) -> Iterator[FoundRow]:
        """All results, page by page as they are taken; options as for ``search``."""
        page: ResultsPage | None = self.search(text, **options)
        while page is not None:
            yield from page
            page = page.next_page()

    def search_live(self, text: str | None = None, **options: Any) -> Iterator[tuple[str, ResultsPage]]:
        """Yields ``("candidates", page)`` at once, found by embedding alone, then, as the closer look goes on,
        ``("progress", page)``, the same rows with the scores of the first ``page.looked_at`` candidates as they will
        be, and last ``("results", page)``, reranked; options as for ``search``."""
        call = replace(calls.search(text, **options), accept="text/event-stream")
        events = Events()
        candidates: dict[str, Any] = {"results": []}
        with closing(self._send(call, stream=True)) as response:
            try:
                for line in response.iter_lines():
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

    def similar(
        self,
        image: str | Picture,
        *,
        n: int | None = None,
        filter: Filter | None = None,
        cursor: str | None = None,
        index: str | None = None,
    ) -> ResultsPage:
        """Pictures that look like one of the index."""
        return self._results(calls.similar(image, n=n, filter=filter, cursor=cursor, index=index))

    def browse(
        self,
        *,
        sort: str | None = None,
        n: int | None = None,
        filter: Filter | None = None,
        cursor: str | None = None,
        index: str | None = None,
    ) -> ListingPage:
        """Pictures without a query: by ``date``, newest first, or by ``path``."""
        return self._listing(calls.browse(sort=sort, n=n, filter=filter, cursor=cursor, index=index))

    def browse_pages(self, **options: Any) -> Iterator[PictureRow]:
        """All pictures, page by page as they are taken; options as for ``browse``."""
        page: ListingPage | None = self.browse(**options)
        while page is not None:
            yield from page
            page = page.next_page()

    def facets(self, filter: Filter | None = None, index: str | None = None) -> Facets:
        """What the pictures can be filtered by, with counts."""
        return parse(Facets, self._json(calls.facets(filter, index)))

    def picture(self, image: str | Picture, *, index: str | None = None) -> PictureRow:
        """What is known of a picture."""
        document = self._json(calls.picture(image, index))
        return parse(PictureRow, document, _client=self)

    def thumbnail(self, image: str | Picture, w: int = 320, *, index: str | None = None) -> Image:
        """A small JPEG of a picture."""
        return self._image(calls.thumbnail(image, w, index))

    def file(self, image: str | Picture, *, index: str | None = None) -> Image:
        """The file of a picture as it is."""
        return self._image(calls.file(image, index))

    def words(self, image: str | Picture, text: str, *, index: str | None = None) -> list[Word]:
        """The words of a text that a heat map can be painted for."""
        document = self._json(calls.why(image, text, None, index))
        return [parse(Word, word) for word in document["words"]]

    def why(self, image: str | Picture, text: str, word: int, *, index: str | None = None) -> Image:
        """Where in a picture a word was found: a heat map; ``word`` counts the list that ``words`` gives."""
        return self._image(calls.why(image, text, word, index))

    def upload(self, image: EmbedLike, caption: str | None = None, *, index: str | None = None) -> Uploaded:
        """Puts a picture into the album of the server, and waits until it can be found. Needs a write token."""
        return parse(Uploaded, self._json(calls.upload(image, caption, index)))

    def delete(self, image: str | Picture, *, index: str | None = None) -> None:
        """Takes a picture out of the album. Needs a write token."""
        self._send(calls.delete(image, index))

    def export(
        self,
        images: Iterable[str | Picture],
        to: str | os.PathLike[str],
        *,
        index: str | None = None,
    ) -> Path:
        """Writes the files of some pictures, all of one index, into a zip archive."""
        path = Path(to)
        with closing(self._send(calls.export(images, index), stream=True)) as response:
            try:
                with path.open("wb") as archive:
                    for chunk in response.iter_bytes():
                        archive.write(chunk)
            except httpx.TransportError as error:
                raise unreachable(error, self._http.base_url) from error
        return path

    def embed(self, inputs: EmbedLike | Sequence[EmbedLike], *, index: str | None = None) -> list[list[float]]:
        """Embeddings of unit length, one for each text or picture, in one space."""
        return cast("list[list[float]]", self._json(calls.embed(inputs, index)))

    def rerank(
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
        document = self._json(calls.rerank(
            text, images=images, image=image, texts=texts, raw_scores=raw_scores, index=index,
        ))
        # fmt: on
        return [parse(Ranked, one) for one in document]

    def features(self, text: str, image: ImageLike, *, index: str | None = None) -> dict[str, Any]:
        """What the model makes of a text and a picture: its pooled states and the outputs of its heads."""
        return cast("dict[str, Any]", self._json(calls.features(text, image, index)))

    def indexes(self) -> list[Index]:
        """The indexes of the server; the first one is asked when none is named."""
        return [parse(Index, one) for one in self._json(calls.get("/v1/indexes"))]

    def status(self) -> Status:
        """State of the server and of its indexes."""
        return parse(Status, self._json(calls.get("/v1/status")))

    def _send(self, call: Call, *, stream: bool = False) -> httpx.Response:
        """The answer; the body of a ``stream`` is not read yet, and whoever asked for it closes it."""
        attempt = 0
        while True:
            request = self._http.build_request(call.method, call.path, **call.keywords())
            try:
                response = self._http.send(request, stream=stream)
                if not response.is_success:
                    response.read()
            except httpx.TransportError as error:
                raise unreachable(error, self._http.base_url) from error
            try:
                return check(response)
            except Overloaded as error:
                if attempt >= self._retries:
                    raise
                time.sleep(wait_before(attempt, error))
                attempt += 1

    def _json(self, call: Call) -> Any:
        return json_of(self._send(call))

    def _image(self, call: Call) -> Image:
        return image_of(self._send(call))

    def _results(self, call: Call) -> ResultsPage:
        return self._page(call, self._json(call))

    def _page(self, call: Call, document: Any) -> ResultsPage:
        page = parse(ResultsPage, {**document, "results": []}, _client=self, _call=call)
        page.results = [parse(FoundRow, row, _client=self) for row in document["results"]]
        return page

    def _listing(self, call: Call) -> ListingPage:
        document = self._json(call)
        page = parse(ListingPage, {**document, "results": []}, _client=self, _call=call)
        page.results = [parse(PictureRow, row, _client=self) for row in document["results"]]
        return page
