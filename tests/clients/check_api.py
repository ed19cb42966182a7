"""Tries the whole API of a real server with what its own OpenAPI document allows and forbids (schemathesis): no 5xx,
and nothing that the document does not say. Seeds are fixed.

    python check_api.py FOLDER      reports are written there; BT_API_SECONDS is how long it takes (120)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import serving

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "missing_required_header",
]


def main(reports: Path) -> int:
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        served = serving.serve(Path(folder), serving.make_index(Path(folder)))
        code = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")),
                "--config-file",
                str(Path(__file__).with_name("schemathesis.toml")),
                "run",
                f"{served.url}/openapi.json",
                "--header",
                f"Authorization: Bearer {serving.WRITE}",
                "--checks",
                ",".join(CHECKS),
                "--max-time",
                os.environ.get("BT_API_SECONDS", "120"),
                "--seed",
                "20261125",
                "--report",
                "junit,har",
                "--report-dir",
                str(reports),
            ],
            cwd=folder,
        ).returncode
        stopped = served.stop()
        log = served.log.read_text(errors="replace")
        (reports / "server.log").write_text(log)
    if stopped != 0:
        print(f"the server ended with {stopped}:\n{log[-4000:]}", file=sys.stderr)
    if "panicked" in log:
        print("a handler panicked; see server.log", file=sys.stderr)
        return 1
    return code or stopped


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
