"""Every route, parameter and field that the Python client uses is in the server's OpenAPI document."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import bridgetower_search.calls as calls
import bridgetower_search.models as models
import serving
from bridgetower_search import Filter

ID = "0" * 64
PICTURE = b"bytes of a picture"


@pytest.fixture(scope="module")
def openapi(server: serving.Served) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=30) as response:
        return dict(json.load(response))


EVERYTHING = Filter(
    folders=["/a"],
    after="2023",
    before="2024",
    camera="pixel",
    types=["jpeg"],
    larger_than="12MP",
    near=(41.0, -8.0, 10.0),
)
SEARCH: dict[str, Any] = dict(
    text="a cat",
    not_="a dog",
    filter=EVERYTHING,
    n=3,
    cursor="c",
    rerank=5,
    min_score=0.5,
    all=True,
    exact=True,
    explain=True,
    group=True,
    sort="date",
    index="one",
)
LIST: dict[str, Any] = dict(n=3, filter=EVERYTHING, cursor="c", index="one")
CALLS = {
    "search": calls.search(**SEARCH),
    "search by id": calls.search(**SEARCH, image=ID),
    "search by a file": calls.search(**SEARCH, image=PICTURE),
    "similar": calls.similar(ID, **LIST),
    "browse": calls.browse(sort="path", **LIST),
    "facets": calls.facets(EVERYTHING, "one"),
    "picture": calls.picture(ID, "one"),
    "thumbnail": calls.thumbnail(ID, 320, "one"),
    "file": calls.file(ID, "one"),
    "words": calls.why(ID, "a cat", None, "one"),
    "why": calls.why(ID, "a cat", 0, "one"),
    "upload": calls.upload(PICTURE, "a caption", "one"),
    "delete": calls.delete(ID, "one"),
    "export": calls.export([ID], "one"),
    "embed": calls.embed("a cat", "one"),
    "embed many": calls.embed(["a cat", PICTURE], "one"),
    "rerank": calls.rerank("a cat", images=[ID, PICTURE], image=None, texts=None, raw_scores=True, index="one"),
    "rerank texts": calls.rerank(None, images=None, image=PICTURE, texts=["a"], raw_scores=False, index="one"),
    "features": calls.features("a cat", PICTURE, "one"),
    "indexes": calls.get("/v1/indexes"),
    "status": calls.get("/v1/status"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_request_is_described(openapi: dict[str, Any], name: str) -> None:
    call = CALLS[name]
    operation = described(openapi, call)
    known = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    assert {pair[0] for pair in call.params} <= known
    content = operation.get("requestBody", {}).get("content", {})
    if call.parts:
        schema = content["multipart/form-data"]["schema"]
        assert {part[0] for part in call.parts} <= set(properties(openapi, schema))
    if call.body is not None:
        accepts(openapi, content["application/json"]["schema"], call.body, name)


ANSWERS: list[tuple[calls.Call, type[Any], str]] = [
    (CALLS["search"], models.Results, ""),
    (CALLS["search"], models.Result, "results"),
    (CALLS["search"], models.Score, "best"),
    (CALLS["similar"], models.Results, ""),
    (CALLS["similar"], models.Result, "results"),
    (CALLS["browse"], models.Listing, ""),
    (CALLS["browse"], models.Picture, "results"),
    (CALLS["picture"], models.Picture, ""),
    (CALLS["facets"], models.Facets, ""),
    (CALLS["facets"], models.FolderCount, "folders"),
    (CALLS["facets"], models.MonthCount, "months"),
    (CALLS["facets"], models.CameraCount, "cameras"),
    (CALLS["facets"], models.TypeCount, "types"),
    (CALLS["words"], models.Word, "words"),
    (CALLS["upload"], models.Uploaded, ""),
    (CALLS["rerank"], models.Ranked, "[]"),
    (CALLS["indexes"], models.Index, "[]"),
    (CALLS["status"], models.Status, ""),
]


@pytest.mark.parametrize(("call", "kind", "where"), ANSWERS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_answer_is_described(openapi: dict[str, Any], call: calls.Call, kind: type[Any], where: str) -> None:
    responses = described(openapi, call)["responses"]
    answer = next(responses[status] for status in ("200", "201") if status in responses)
    schema = answer["content"]["application/json"]["schema"]
    if where == "[]":
        schema = items(openapi, schema)
    elif where:
        schema = properties(openapi, schema)[where]
        schema = items(openapi, schema) or schema
    known = set(properties(openapi, schema))
    used = {models.json_name(one) for one in dataclasses.fields(kind)} - {None}
    assert used <= known, f"not in the document: {used - known}"
    required = {
        models.json_name(one)
        for one in dataclasses.fields(kind)
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }
    promised = {name for one in alternatives(openapi, schema) for name in one.get("required", [])}
    assert required <= promised, f"may be missing: {required - promised}"


def test_every_function_that_makes_a_request_is_compared() -> None:
    tree = ast.parse(Path(calls.__file__).read_text("utf-8"))
    made = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "Call"
    }
    here = ast.parse(Path(__file__).read_text("utf-8"))
    compared = {
        node.func.attr
        for node in ast.walk(here)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "calls"
    }
    assert made <= compared


VALUES = {
    "after": (["1999", "2024-07", "2024-02-29"], ["", "99", "2024-7", "2024-13", "2024-07-32", "soon"]),
    "larger_than": (
        ["12MP", "0.5mp", "2000x1500", "5MB", "3GiB", "7b", "4k"],
        ["", "12", "MP", "10x", "-3MP", "12 miles"],
    ),
    "near": (["48.85,2.35,20", "-90,180,0.5", "0,-179.9,20000"], ["", "1,2", "91,0,1", "0,181,1", "0,0,0", "nan,0,1"]),
    "folder": (["/", "/pictures/a b"], ["", "pictures"]),
    "type": (["jpeg", "jpg", "jxl"], ["", "doc"]),
    "index": (["index"], ["", "another"]),
    "n": ([1, 200], [0, 201]),
    "rerank": ([0, 200], [-1, 201]),
    "min_score": ([-1, 0.5, 1], [-1.1, 2]),
    "q": (["a", "a" * 8192], [" "]),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_described_is_what_is_taken(server: serving.Served, openapi: dict[str, Any], name: str) -> None:
    parameters = openapi["paths"]["/v1/search"]["get"]["parameters"]
    schema = next(one["schema"] for one in parameters if one["name"] == name)
    good, bad = VALUES[name]
    for value in [*good, *bad]:
        params = {"rerank": 0, "q": "a cat", name: value}
        headers = {"Authorization": f"Bearer {serving.READ}"}
        response = httpx.get(f"{server.url}/v1/search", params=params, headers=headers, timeout=serving.LIMIT)
        assert response.status_code in ((200,) if value in good else (400, 404)), (value, response.text)
        assert allows(schema.get("items", schema), value) == (value in good), (value, schema)


def allows(schema: dict[str, Any], value: str | float) -> bool:
    """Whether a schema without parts allows a value."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, str):
        longest = schema.get("maxLength", len(value))
        return len(value) <= longest and bool(re.search(schema.get("pattern", ""), value))
    return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))


def described(openapi: dict[str, Any], call: calls.Call) -> dict[str, Any]:
    """The operation that a request is for."""
    for path, operations in openapi["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", path), call.path):
            return dict(operations[call.method.lower()])
    raise AssertionError(f"{call.path} is not in the document")


def alternatives(openapi: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema, and those that it stands for or is put together from."""
    yield schema
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        yield from alternatives(openapi, openapi["components"]["schemas"][name])
    for key in ("allOf", "oneOf", "anyOf"):
        for one in schema.get(key, []):
            yield from alternatives(openapi, one)


def properties(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Every property that an object of this schema may have. The schema goes before conditions that it must meet."""
    found: dict[str, Any] = {}
    for one in alternatives(openapi, schema):
        found = one.get("properties", {}) | found
    return found


def items(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """Schema of the items of a list."""
    return next((one["items"] for one in alternatives(openapi, schema) if "items" in one), None)


def accepts(openapi: dict[str, Any], schema: dict[str, Any], value: Any, where: str) -> None:
    """Checks that every property of a body is in its schema, at every depth."""
    if isinstance(value, dict):
        known = properties(openapi, schema)
        for name, inner in value.items():
            assert name in known, f"{where}: {name} is not in the document"
            accepts(openapi, known[name], inner, f"{where}.{name}")
    elif isinstance(value, list):
        one = items(openapi, schema)
        assert one is not None, f"{where}: no list in the document"
        for inner in value:
            accepts(openapi, one, inner, where)
