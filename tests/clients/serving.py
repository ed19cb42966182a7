"""A real bt-server on a fresh index of samples/, for tests and for whoever wants to look at it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PROGRAMS = Path(os.environ.get("BT_BIN") or TARGET / "release")
READ = "read-token-of-the-tests"
WRITE = "write-token-of-the-tests"
# Long, for machines that do other things as well; what works takes a second.
LIMIT = 120.0


@dataclass
class Served:
    """A running server."""

    url: str
    index: Path
    album: Path
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(LIMIT)


def environment(home: Path) -> dict[str, str]:
    """The environment of programs, without the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BT_")}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}


def program(name: str) -> str:
    """Path of one of our programs."""
    path = PROGRAMS / name
    if not path.exists():
        raise FileNotFoundError(f"{path}: build it (cargo build --release --bins), or say where with BT_BIN")
    return str(path)


def make_index(folder: Path, album: Path = ROOT / "samples") -> Path:
    """Indexes an album: the samples, when none is named."""
    index = folder / "index"
    subprocess.run(
        [program("bt-index"), str(album), "--index", str(index)],
        env=environment(folder),
        check=True,
        capture_output=True,
    )
    return index


def serve(folder: Path, index: Path, *flags: str) -> Served:
    """Starts a server with two tokens and an album for uploads, and waits until it is ready."""
    album = folder / "album"
    album.mkdir(exist_ok=True)
    tokens = folder / "tokens"
    tokens.write_text(f"read {READ}\nwrite {WRITE}\n")
    tokens.chmod(0o600)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = folder / "server.log"
    command = [program("bt-server"), "--index", str(index), "--bind", address]
    command += ["--album", str(album), "--token-file", str(tokens), *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment(folder), stdout=output, stderr=output)
    served = Served(f"http://{address}", index, album, process, log)
    end = time.monotonic() + LIMIT
    while not _is_ready(served.url):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError(f"{' '.join(command)}: not ready\n{log.read_text(errors='replace')}")
        time.sleep(0.05)
    return served


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
