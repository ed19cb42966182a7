"""What goes wrong, as exceptions. Every answer of the server that is no result carries a problem document
(RFC 9457); the exception holds its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "Conflict",
    "Forbidden",
    "NotFound",
    "Overloaded",
    "Problem",
    "SearchError",
    "Unauthorized",
    "Unreachable",
]


class SearchError(Exception):
    """Anything that a client raises."""


class Unreachable(SearchError):
    """No answer came: nobody listens there, the connection broke, or it took too long."""


class Problem(SearchError):
    """The server refused or failed.

    ``type`` is stable and meant for programs, ``detail`` and ``hint`` are for people; ``instance`` is the id
    under which the server's log has the request.
    """

    def __init__(
        self,
        status: int,
        document: Mapping[str, Any],
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.type: str = _text(document, "type") or "about:blank"
        self.title: str = _text(document, "title") or f"status {status}"
        self.detail: str = _text(document, "detail") or ""
        self.hint: str | None = _text(document, "hint")
        self.instance: str | None = _text(document, "instance")
        self.retry_after = retry_after
        message = f"{self.title}: {self.detail}" if self.detail else self.title
        super().__init__(f"{message} ({self.hint})" if self.hint else message)


class Unauthorized(Problem):
    """401: a token is needed, or this one is not known."""


class Forbidden(Problem):
    """403: the token may read, not write."""


class NotFound(Problem):
    """404: there is no such picture or index."""


class Conflict(Problem):
    """409: model, index and question do not go together."""


class Overloaded(Problem):
    """429 or 503: ask again after ``retry_after`` seconds. The client did so ``retries`` times already."""


_BY_STATUS: dict[int, type[Problem]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: Overloaded,
    503: Overloaded,
}


def problem(status: int, body: bytes, retry_after: str | None = None) -> Problem:
    """The exception for an answer. A body that is no problem document (from a proxy, say) becomes the detail."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {"detail": body[:500].decode("utf-8", "replace").strip()}
    try:
        seconds = float(retry_after) if retry_after is not None else None
    except ValueError:  # the other form of the header is a date
        seconds = None
    return problem_of(status, document, seconds)


def problem_of(status: int, document: Mapping[str, Any], retry_after: float | None = None) -> Problem:
    """The exception for a problem document."""
    return _BY_STATUS.get(status, Problem)(status, document, retry_after)


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None
