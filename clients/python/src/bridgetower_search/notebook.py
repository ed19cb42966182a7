"""How pictures look in a notebook: plain HTML, everything escaped, no script."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import Picture

_GRID = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-end"
_FIGURE = "margin:0;max-width:180px;font:12px/1.4 system-ui,sans-serif"
_IMAGE = "display:block;max-width:180px;max-height:180px;border-radius:6px"
_TEXT = "overflow-wrap:anywhere;opacity:.8"


def data_url(data: bytes, media_type: str) -> str:
    """A picture as part of the page."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def image(source: str, label: str) -> str:
    """One picture."""
    return f'<img src="{html.escape(source)}" alt="{html.escape(label)}" style="{_IMAGE}">'


def grid(pictures: Sequence[Picture], thumbnails: Mapping[str, bytes], caption: str) -> str:
    """Pictures beside each other, each with its score and its path; thumbnails are JPEGs by id."""
    figures = []
    for picture in pictures:
        name = picture.path or picture.id
        thumbnail = thumbnails.get(picture.id)
        shown = "" if thumbnail is None else image(data_url(thumbnail, "image/jpeg"), name)
        score = getattr(picture, "probability", None)
        known = f"<b>{score:.0%}</b> " if score is not None else ""
        figures.append(
            f'<figure style="{_FIGURE}">{shown}<figcaption style="{_TEXT}">{known}{html.escape(name)}'
            "</figcaption></figure>"
        )
    return f'<p>{html.escape(caption)}</p><div style="{_GRID}">{"".join(figures)}</div>'
