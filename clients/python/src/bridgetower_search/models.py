"""What the server answers, as data. Fields are those of the OpenAPI document; unknown ones are ignored, so that
a newer server can be asked. What can be done with a row (fetch its thumbnail, ...) is in ``sync`` and ``aio``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from . import notebook

T = TypeVar("T")


def parse(kind: type[T], document: Mapping[str, Any], **more: Any) -> T:
    """Builds a dataclass from a JSON object: by field names, or by ``json`` in a field's metadata."""
    values: dict[str, Any] = {}
    for one in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = json_name(one)
        if name is not None and name in document:
            convert: Callable[[Any], Any] = one.metadata.get("convert", _same)
            values[one.name] = convert(document[name])
    return kind(**values, **more)


def json_name(one: dataclasses.Field[Any]) -> str | None:
    """Name of a field in JSON; None for one that does not come from the server."""
    name: str | None = one.metadata.get("json", one.name)
    return name


def _same(value: Any) -> Any:
    return value


def _list(convert: Callable[[Any], Any]) -> Any:
    return field(
        default_factory=list,
        metadata={"convert": lambda values: [convert(value) for value in values]},
    )


@dataclass(kw_only=True)
class Picture:
    """A picture of an index."""

    id: str
    """BLAKE3 of the file's bytes, 64 hexadecimal digits."""
    width: int
    height: int
    format: str
    path: str | None = None
    """The first known place on the server; None when the file has vanished."""
    also_at: list[str] = field(default_factory=list)
    """Other places of the same bytes."""
    bytes: int | None = None
    taken: str | None = None
    """By the camera's clock, ``2024-07-03T12:00:00``."""
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    captions: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)
    damaged: str | None = None
    index: str | None = None
    """Name of the index that it was found in: what is done with the picture is asked there."""
    thumbnail_url: str | None = field(default=None, metadata={"json": "thumbnail"})
    file_url: str | None = field(default=None, metadata={"json": "file"})


@dataclass(kw_only=True)
class Score:
    """A score; exactly one of the three is there."""

    probability: float | None = None
    """That the picture shows what was asked."""
    similarity: float | None = None
    """Cosine of the embeddings, where no probability is known."""
    words: float | None = None
    """BM25, where nothing else is known."""


@dataclass(kw_only=True)
class Result(Picture):
    """A picture that was found."""

    rank: int
    """Place among all results, from 1."""
    probability: float | None = None
    similarity: float | None = None
    words: float | None = None
    folded: list[Picture] = _list(lambda value: parse(Picture, value))
    """Near-duplicates; with ``group=True``."""
    not_reranked: str | None = None
    reasons: dict[str, Any] | None = field(default=None, metadata={"json": "why"})
    """Where its place comes from; with ``explain=True``."""

    @property
    def score(self) -> float:
        """Probability, else similarity, else BM25; ``score_kind`` says which."""
        value = getattr(self, self.score_kind)
        return float("nan") if value is None else float(value)

    @property
    def score_kind(self) -> str:
        """``probability``, ``similarity`` or ``words``."""
        if self.probability is not None:
            return "probability"
        return "similarity" if self.similarity is not None else "words"


P = TypeVar("P", bound=Picture)


@dataclass(kw_only=True)
class Page(Generic[P]):
    """A page of pictures: a sequence, which a notebook shows."""

    results: Sequence[P]
    next: str | None = None
    """Cursor of the next page."""
    _thumbnails: dict[str, Image] = field(default_factory=dict, repr=False, compare=False, metadata={"json": None})

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[P]:
        return iter(self.results)

    @overload
    def __getitem__(self, which: int) -> P: ...
    @overload
    def __getitem__(self, which: slice) -> Sequence[P]: ...
    def __getitem__(self, which: int | slice) -> P | Sequence[P]:
        return self.results[which]

    def __bool__(self) -> bool:
        return bool(self.results)

    def _repr_html_(self) -> str:
        return notebook.grid(self.results, self._thumbnails, self._caption())

    def _caption(self) -> str:
        return f"{len(self)} pictures"


@dataclass(kw_only=True)
class Results(Page[P]):
    """The answer to a query. Empty means that nothing shows what was asked; ``best`` says how near it came."""

    matched: int = 0
    """Results on all pages, as far as the finders went."""
    best: Score | None = field(
        default=None,
        metadata={"convert": lambda value: None if value is None else parse(Score, value)},
    )
    pictures: int = 0
    """Pictures in the index."""
    allowed: int = 0
    """Pictures that the filter allows."""
    looked_at: int = 0
    """Pictures that the cross-modal layers read together with the words."""
    took_ms: float = 0.0
    warnings: list[str] = field(default_factory=list)
    explain: dict[str, Any] | None = None
    index: str | None = None
    generation: int | None = None

    def _caption(self) -> str:
        if not self.results:
            return f"Nothing here shows that ({self.allowed} pictures looked through)."
        return f"{len(self)} of {self.matched} results, {self.took_ms:.0f} ms"


@dataclass(kw_only=True)
class Listing(Page[P]):
    """Pictures without a query: newest first, or by path."""

    total: int = 0

    def _caption(self) -> str:
        return f"{len(self)} of {self.total} pictures"


@dataclass(kw_only=True)
class Uploaded:
    """What became of an upload."""

    id: str
    path: str
    known: bool
    """The same bytes were in the index before."""


@dataclass(kw_only=True)
class Ranked:
    """One of the things that were reranked."""

    index: int
    """Place in the list that was sent."""
    score: float


@dataclass(kw_only=True)
class Word:
    """A word of a text, and where its heat map is."""

    word: str
    url: str


@dataclass(kw_only=True)
class FolderCount:
    folder: str
    count: int


@dataclass(kw_only=True)
class MonthCount:
    month: str
    count: int


@dataclass(kw_only=True)
class CameraCount:
    camera: str
    count: int


@dataclass(kw_only=True)
class TypeCount:
    type: str
    count: int


@dataclass(kw_only=True)
class Facets:
    """What the pictures can be filtered by, with counts."""

    total: int
    folders: list[FolderCount] = _list(lambda value: parse(FolderCount, value))
    months: list[MonthCount] = _list(lambda value: parse(MonthCount, value))
    cameras: list[CameraCount] = _list(lambda value: parse(CameraCount, value))
    types: list[TypeCount] = _list(lambda value: parse(TypeCount, value))


@dataclass(kw_only=True)
class Index:
    """An index that the server has."""

    name: str
    pictures: int
    generation: int | None = None
    """Newest published one."""
    tail: int
    """Pictures that were committed after it."""
    dimensions: int
    model: str
    rerank_model: str | None = None
    by_words: bool
    """Whether words can be compared with its pictures."""
    threshold: float
    """Probability from which on a picture is a result."""
    warnings: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Status:
    """What runs there."""

    version: str
    ready: bool
    uptime: int
    """Seconds."""
    uploads: bool
    indexes: list[Index] = _list(lambda value: parse(Index, value))
    """The first one is asked when a request names none."""


class Image(bytes):
    """Bytes of a picture; a notebook shows them."""

    media_type: str

    def __new__(cls, data: bytes, media_type: str = "image/jpeg") -> Image:
        image = super().__new__(cls, data)
        image.media_type = media_type
        return image

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.media_type in ("image/jpeg", "image/png"):
            return {self.media_type: bytes(self)}
        return {"text/html": notebook.image(notebook.data_url(self, self.media_type), "")}

    def __repr__(self) -> str:
        return f"Image({len(self)} bytes, {self.media_type})"
