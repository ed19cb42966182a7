"""Client of bt-server: find pictures by meaning.

>>> from bridgetower_search import Client
>>> client = Client("http://127.0.0.1:7871")
>>> for row in client.search("a cat on a couch"):
...     print(row.path, row.score)
"""

from .aio import AsyncClient
from .calls import Filter
from .errors import (
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    Problem,
    SearchError,
    Unauthorized,
    Unreachable,
)
from .models import Facets, Image, Index, Picture, Ranked, Result, Score, Status, Uploaded, Word
from .sync import Client

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Conflict",
    "Facets",
    "Filter",
    "Forbidden",
    "Image",
    "Index",
    "NotFound",
    "Overloaded",
    "Picture",
    "Problem",
    "Ranked",
    "Result",
    "Score",
    "SearchError",
    "Status",
    "Unauthorized",
    "Unreachable",
    "Uploaded",
    "Word",
]
