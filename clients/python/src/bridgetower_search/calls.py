"""What is sent, as data: one function a route, shared by the two clients. Nothing here does I/O but reading a
picture file that was given by its path."""

from __future__ import annotations

import base64
import io
import json
import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Union
from urllib.parse import quote

from .models import Picture

_ID = re.compile(r"[0-9a-f]{64}\Z")


class Drawn(Protocol):
    """A picture of Pillow, or of anything else that can save itself."""

    def save(self, fp: Any, format: str | None = None) -> Any: ...


ImageLike = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Picture, Drawn]
"""A picture: an id of the index, a row, a path, the bytes of a file, or a Pillow image."""
EmbedLike = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Drawn]
"""To embed: a string is a text; a path object, the bytes of a file or a Pillow image is a picture."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which pictures may be results at all."""

    folders: Sequence[str] = ()
    after: str | None = None
    """``2023``, ``2023-06`` or ``2023-06-24``, by the camera's clock."""
    before: str | None = None
    camera: str | None = None
    types: Sequence[str] = ()
    """``jpeg``, ``png``, ..."""
    larger_than: str | None = None
    """``12MP`` or ``4000x3000``."""
    near: tuple[float, float, float] | None = None
    """Latitude, longitude, kilometres."""

    def document(self) -> dict[str, Any]:
        """For a JSON body."""
        near = None
        if self.near is not None:
            latitude, longitude, radius_km = self.near
            near = {"latitude": latitude, "longitude": longitude, "radius_km": radius_km}
        return _given(
            folders=list(self.folders),
            after=self.after,
            before=self.before,
            camera=self.camera,
            types=list(self.types),
            larger_than=self.larger_than,
            near=near,
        )

    def params(self) -> list[tuple[str, str]]:
        """For a query string."""
        pairs = [("folder", folder) for folder in self.folders]
        pairs += [("type", name) for name in self.types]
        near = None if self.near is None else ",".join(str(number) for number in self.near)
        pairs += _pairs(
            after=self.after,
            before=self.before,
            camera=self.camera,
            larger_than=self.larger_than,
            near=near,
        )
        return pairs


Part = tuple[str, tuple[str | None, bytes | str, str]]


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    params: list[tuple[str, str]] = field(default_factory=list)
    body: Any = None
    """Sent as JSON."""
    parts: list[Part] = field(default_factory=list)
    """Sent as multipart/form-data."""
    accept: str = "application/json"

    def keywords(self) -> dict[str, Any]:
        """Arguments of httpx."""
        words: dict[str, Any] = {"headers": {"accept": self.accept}}
        if self.params:
            words["params"] = self.params
        if self.parts:
            words["files"] = self.parts
        elif self.body is not None:
            words["json"] = self.body
        return words

    def page(self, cursor: str) -> Call:
        """The same for the page at a cursor."""
        if self.method == "GET":
            params = [pair for pair in self.params if pair[0] != "cursor"]
            return replace(self, params=[*params, ("cursor", cursor)])
        body = {**self.body, "cursor": cursor}
        if not self.parts:
            return replace(self, body=body)
        others = [part for part in self.parts if part[0] != "request"]
        return replace(self, body=body, parts=[_request_part(body), *others])


def search(
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
) -> Call:
    negatives = [not_] if isinstance(not_, str) else list(not_)
    body = _given(
        text=text,
        n=n,
        cursor=cursor,
        rerank=rerank,
        min_score=min_score,
        all=all or None,
        exact=exact or None,
        explain=explain or None,
        group=group or None,
        sort=sort,
        index=_index(index, image),
        filter=None if filter is None else filter.document(),
    )
    if negatives:
        body["not"] = negatives
    if image is None:
        return Call("POST", "/v1/search", body=body)
    known = _known(image)
    if known is not None:
        return Call("POST", "/v1/search", body={**body, "image": {"id": known}})
    return Call("POST", "/v1/search", body=body, parts=[_request_part(body), _image_part(image)])


def similar(
    image: str | Picture,
    *,
    n: int | None,
    filter: Filter | None,
    cursor: str | None,
    index: str | None,
) -> Call:
    params = _pairs(n=n, cursor=cursor, index=_index(index, image))
    params += [] if filter is None else filter.params()
    return Call("GET", f"/v1/similar/{_id(image)}", params)


def browse(
    *,
    sort: str | None,
    n: int | None,
    filter: Filter | None,
    cursor: str | None,
    index: str | None,
) -> Call:
    params = _pairs(sort=sort, n=n, cursor=cursor, index=index)
    params += [] if filter is None else filter.params()
    return Call("GET", "/v1/browse", params)


def facets(filter: Filter | None, index: str | None) -> Call:
    params = [] if filter is None else filter.params()
    return Call("GET", "/v1/facets", [*params, *_pairs(index=index)])


def picture(image: str | Picture, index: str | None) -> Call:
    return Call("GET", f"/v1/pictures/{_id(image)}", _pairs(index=_index(index, image)))


def thumbnail(image: str | Picture, w: int, index: str | None) -> Call:
    path = f"/v1/pictures/{_id(image)}/thumbnail"
    return Call("GET", path, _pairs(w=w, index=_index(index, image)), accept="image/*")


def file(image: str | Picture, index: str | None) -> Call:
    return Call("GET", f"/v1/pictures/{_id(image)}/file", _pairs(index=_index(index, image)), accept="*/*")


def why(image: str | Picture, q: str, word: int | None, index: str | None) -> Call:
    accept = "application/json" if word is None else "image/*"
    path = f"/v1/pictures/{_id(image)}/why"
    return Call("GET", path, _pairs(q=q, word=word, index=_index(index, image)), accept=accept)


def upload(image: EmbedLike, caption: str | None, index: str | None) -> Call:
    if isinstance(image, str):
        image = Path(image)
    parts = [_image_part(image)]
    if caption is not None:
        parts.append(("caption", (None, caption, "text/plain; charset=utf-8")))
    return Call("POST", "/v1/pictures", _pairs(index=index), parts=parts)


def delete(image: str | Picture, index: str | None) -> Call:
    return Call("DELETE", f"/v1/pictures/{_id(image)}", _pairs(index=_index(index, image)))


def export(images: Iterable[str | Picture], index: str | None) -> Call:
    wanted = list(images)
    body = _given(ids=[_id(image) for image in wanted], index=_index(index, *wanted))
    return Call("POST", "/v1/export", body=body, accept="application/zip")


def embed(inputs: EmbedLike | Sequence[EmbedLike], index: str | None) -> Call:
    many = isinstance(inputs, (list, tuple))
    wanted = [_input(one) for one in inputs] if many else [_input(inputs)]  # type: ignore[union-attr, arg-type]
    return Call("POST", "/v1/embed", _pairs(index=index), body={"inputs": wanted})


def rerank(
    text: str | None,
    *,
    images: Sequence[ImageLike] | None,
    image: ImageLike | None,
    texts: Sequence[str] | None,
    raw_scores: bool,
    index: str | None,
) -> Call:
    if (text is None) == (image is None) or (text is None) != (images is None) or (image is None) != (texts is None):
        raise TypeError("rerank takes a text and images=, or image= and texts=")
    body = _given(
        query=text,
        images=None if images is None else [_reference(one) for one in images],
        query_image=None if image is None else _reference(image),
        texts=None if texts is None else list(texts),
        raw_scores=raw_scores or None,
    )
    return Call("POST", "/v1/rerank", _pairs(index=_index(index, image, *(images or ()))), body=body)


def features(text: str, image: ImageLike, index: str | None) -> Call:
    body = {"text": text, "image": _reference(image)}
    return Call("POST", "/v1/features", _pairs(index=_index(index, image)), body=body)


def get(path: str) -> Call:
    return Call("GET", path)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != []}


def _pairs(**values: Any) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in values.items() if value is not None]


def _id(image: str | Picture) -> str:
    return quote(image.id if isinstance(image, Picture) else image, safe="")


def _index(named: str | None, *images: object) -> str | None:
    """The index to ask: the one that is named, else that of the rows."""
    if named is not None:
        return named
    names = {image.index for image in images if isinstance(image, Picture) and image.index is not None}
    if len(names) > 1:
        raise ValueError(f"rows of several indexes in one request: {', '.join(sorted(names))}; ask each index alone")
    return next(iter(names), None)


def _known(image: ImageLike) -> str | None:
    """The id of a picture that the index has; None for one that is to be sent."""
    if isinstance(image, Picture):
        return image.id
    return image if isinstance(image, str) and _ID.match(image) else None


def _bytes(image: ImageLike) -> tuple[str, bytes]:
    """A file name and the bytes of a picture."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return "picture", bytes(image)
    if isinstance(image, (str, os.PathLike)):
        path = Path(image).expanduser()
        return path.name, path.read_bytes()
    if isinstance(image, Picture):
        raise TypeError("a picture of the index has no bytes here; fetch them with .file()")
    memory = io.BytesIO()
    image.save(memory, format="PNG")
    return "picture.png", memory.getvalue()


def _image_part(image: ImageLike) -> Part:
    name, data = _bytes(image)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return ("image", (name, data, kind))


def _request_part(body: Any) -> Part:
    return ("request", (None, json.dumps(body), "application/json"))


def _base64(image: ImageLike) -> str:
    return base64.b64encode(_bytes(image)[1]).decode("ascii")


def _reference(image: ImageLike) -> dict[str, str]:
    known = _known(image)
    return {"id": known} if known is not None else {"base64": _base64(image)}


def _input(one: EmbedLike) -> str | dict[str, str]:
    return one if isinstance(one, str) else {"image": _base64(one)}
