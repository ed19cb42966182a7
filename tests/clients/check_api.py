"""Tries the whole API of a real server with what its own OpenAPI document allows and forbids (schemathesis): no 5xx,
and nothing that the document does not say. Seed and number of cases are fixed, so that two runs try the same.

    python check_api.py FOLDER      reports are written there; BT_API_SECONDS=600 goes on until so much time has passed
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import serving
from bridgetower_search import Client

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "missing_required_header",
    "negative_data_rejection",
    "positive_data_acceptance",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
]
SEED = "20261125"
# Of each operation, in each phase.
EXAMPLES = "200"


def configuration(served: serving.Served) -> str:
    """Real ids, words that find something, and a token that may also upload and delete (in the album only)."""
    with Client(served.url, serving.READ) as client:
        ids = [row.id for row in client.browse(n=5)]
        cursors = [client.search("a cat", n=n, all=True, rerank=0).next for n in (1, 2)]
        uploaded = Client(served.url, serving.WRITE).upload(Path(__file__).with_name("upload.png"))
    return f"""
hooks = "{Path(__file__).with_name("api_hooks.py")}"

[headers]
Authorization = "Bearer {serving.WRITE}"

[dictionaries.ids]
values = {json.dumps([*ids, uploaded.id])}

[dictionaries.cursors]
values = {json.dumps(cursors)}

[dictionaries.words]
values = ["a cat on a couch", "castle at night", "pizza", ""]

[dictionaries.periods]
values = ["1999", "2024-07", "2031-12-31"]

[dictionaries.sizes]
values = ["0.1MP", "200x150", "5MB"]

[dictionaries.places]
values = ["48.85,2.35,20", "-90,180,20000"]

# What a schema cannot say: which ids there are, who may do what, and whether bytes are a picture (422). Where it cannot
# say what goes together, api_hooks.py does.
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422]

[parameters]
"path.id" = {{ dictionary = "ids", probability = 0.8 }}
"query.cursor" = {{ dictionary = "cursors" }}
"query.q" = {{ dictionary = "words", probability = 0.5 }}
"body.ids[*]" = {{ dictionary = "ids" }}
"body.image.id" = {{ dictionary = "ids" }}
"body.images[*].id" = {{ dictionary = "ids" }}
"body.query_image.id" = {{ dictionary = "ids" }}
"body.cursor" = {{ dictionary = "cursors" }}
"query.after" = {{ dictionary = "periods", probability = 0.8 }}
"query.before" = {{ dictionary = "periods", probability = 0.8 }}
"query.larger_than" = {{ dictionary = "sizes", probability = 0.8 }}
"query.near" = {{ dictionary = "places", probability = 0.8 }}

# The parts of a form are text: a caption of 0 cannot be told from one of "0", so no form is of a wrong type.
[[operations]]
include-name = "POST /v1/pictures"
checks.negative_data_rejection.enabled = false
generation.mode = "positive"
"""


def main(reports: Path) -> int:
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = serving.serve(folder, serving.make_index(folder))
        settings = folder / "schemathesis.toml"
        settings.write_text(configuration(served))
        command = [str(Path(sys.executable).with_name("st")), "--config-file", str(settings)]
        command += ["run", f"{served.url}/openapi.json", "--checks", ",".join(CHECKS), "--seed", SEED]
        command += ["--max-examples", EXAMPLES, "--generation-database", "none", "--continue-on-failure"]
        if seconds := os.environ.get("BT_API_SECONDS"):
            command += ["--max-time", seconds]
        command += ["--report", "junit,ndjson", "--report-dir", str(reports.resolve())]
        found = subprocess.run(command, cwd=folder).returncode
        stopped = served.stop()
        log = served.log.read_text(errors="replace")
        (reports / "server.log").write_text(log)
    if stopped != 0:
        print(f"the server ended with {stopped}:\n{log[-4000:]}", file=sys.stderr)
    if "panicked" in log:
        print(f"a handler panicked; see {reports}/server.log", file=sys.stderr)
    return found or stopped or int("panicked" in log)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
