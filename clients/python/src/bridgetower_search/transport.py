"""What the two clients share about HTTP: addresses, tokens, answers to exceptions, waiting between tries, events."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import httpx

from .errors import Problem, SearchError, Unreachable, problem, problem_of
from .models import Image

DEFAULT_URL = "http://127.0.0.1:7871"
LONGEST_WAIT = 30.0
"""Seconds between two tries at most, whatever the server says."""


def settings(url: str | None, token: str | None, timeout: float) -> dict[str, Any]:
    """Arguments of an httpx client. Without a token, that in the environment variable BT_TOKEN is taken."""
    token = token if token is not None else os.environ.get("BT_TOKEN")
    headers = {"user-agent": "bridgetower-search-python/0.1.0"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return {
        "base_url": url or DEFAULT_URL,
        "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=min(timeout, 10.0)),
    }


def check(response: httpx.Response) -> httpx.Response:
    """The answer, or the exception for one that is none; the body of such a one must have been read."""
    if response.is_success:
        return response
    raise problem(response.status_code, response.content, response.headers.get("retry-after"))


def json_of(response: httpx.Response) -> Any:
    """The JSON of an answer."""
    try:
        return response.json()
    except ValueError as error:
        raise SearchError(f"{response.url} answers with something else than JSON; is it bt-server?") from error


def image_of(response: httpx.Response) -> Image:
    """The picture of an answer."""
    return Image(response.content, response.headers.get("content-type", "application/octet-stream"))


def unreachable(error: httpx.TransportError, url: httpx.URL) -> Unreachable:
    """The exception for no answer at all."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"no answer from {url}: {reason}; is bt-server running there?")


def wait_before(attempt: int, error: Problem) -> float:
    """Seconds until the next try, the first being number 0."""
    asked = error.retry_after if error.retry_after is not None else 0.25 * 2.0**attempt
    return min(max(asked, 0.0), LONGEST_WAIT)


def judged(candidates: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
    """The candidates' document with what ``progress`` says of some of them."""
    scores = {one["id"]: one for one in progress["judged"]}
    rows = [{**row, **scores.get(row["id"], {})} for row in candidates["results"]]
    return {**candidates, "results": rows, "looked_at": progress["done"]}


@dataclass
class Events:
    """Parser of an event stream, a line at a time."""

    name: str = "message"
    data: list[str] = field(default_factory=list)

    def line(self, line: str) -> tuple[str, Any] | None:
        """The event that ends with this line, if one does; what the server reports as a problem is raised."""
        if line:
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "event":
                self.name = value
            elif key == "data":
                self.data.append(value)
            return None
        name, data = self.name, "\n".join(self.data)
        self.name, self.data = "message", []
        if name == "problem":
            document = json.loads(data)
            raise problem_of(int(document.get("status", 500)), document)
        return (name, json.loads(data)) if name in ("candidates", "progress", "results") else None
