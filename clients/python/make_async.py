#!/usr/bin/env python3
"""Makes src/bridgetower_search/aio.py from sync.py: one client is written, two are shipped.

python3 make_async.py            writes the file
python3 make_async.py --check    fails when it is not what would be written
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent / "src" / "bridgetower_search"
HEAD = '"""The client for asyncio and trio: that of ``sync``, awaited. Made from it by ``make_async.py``: edit that."""'
NOT_AWAITED = "__init__|_page"

RULES = [
    (r'\A""".*?"""', HEAD),
    (r"    # only here: .*?    # end\n", ""),
    (r"\b(FoundRow|PictureRow|ResultsPage|ListingPage)\b", r"Async\1"),
    (r"\bClient\b", "AsyncClient"),
    (r"\bIterator\b", "AsyncIterator"),
    (r"Iterable, AsyncIterator", "AsyncIterator, Iterable"),
    (rf"\n    def (?!(?:{NOT_AWAITED})\b)", r"\n    async def "),
    (r"__(enter|exit)__", r"__a\1__"),
    (r"self\._http\.close\(", "await self._http.aclose("),
    (r"self\.close\(\)", "await self.close()"),
    (r"\bimport time\n", ""),
    (r"\nimport httpx\n", "\nimport anyio\nimport httpx\n"),
    (r"time\.sleep\(", "await anyio.sleep("),
    (r"import closing\b", "import aclosing"),
    (r"\bwith closing\(", "async with aclosing("),
    (r"response\.read\(", "await response.aread("),
    (r"for (\w+) in response\.iter_", r"async for \1 in response.aiter_"),
    (r"self\._http\.send\(", "await self._http.send("),
    (r"(self\._(?:json|send|image|results|listing)\()", r"await \1"),
    (r"(self\._client\.\w+\()", r"await \1"),
    (r"(self\.(?:search|browse)\(|page\.next_page\(|row\.thumbnail\()", r"await \1"),
    (r"yield from page\n", "for row in page:\n                yield row\n"),
    (r">>> for row in client\.search", ">>> for row in await client.search"),
]


def made() -> str:
    text = (HERE / "sync.py").read_text("utf-8")
    for pattern, replacement in RULES:
        text, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
        if not count:
            raise SystemExit(f"make_async.py: nothing in sync.py matches {pattern}")
    return re.sub(r"\n{4,}", "\n\n\n", re.sub(r"\n\n\n(?=    )", "\n\n", text))


if __name__ == "__main__":
    target = HERE / "aio.py"
    if sys.argv[1:] == ["--check"]:
        if target.read_text("utf-8") != made():
            raise SystemExit("aio.py is not what make_async.py makes; run it")
    else:
        target.write_text(made(), "utf-8")
