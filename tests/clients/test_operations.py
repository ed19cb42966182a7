"""What docs/operations.md promises: backups that can be searched, numbers that the alerts ask for, flags that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml

import serving
from bridgetower_search import Client

DEPLOY = serving.ROOT / "deploy"


def test_a_copy_of_truth_and_generations_is_sound_and_answers_alike(
    server: serving.Served, client: Client, tmp_path: Path
) -> None:
    copy = tmp_path / "index"
    copy.mkdir()
    shutil.copy2(server.index / "index.json", copy)
    for folder in ("segments", "generations", "catalog"):
        shutil.copytree(server.index / folder, copy / folder)
    command = [serving.program("bt-index"), "--verify", "--index", str(copy)]
    assert subprocess.run(command, env=serving.environment(tmp_path), capture_output=True).returncode == 0
    restored = serving.serve(tmp_path, copy)
    with Client(restored.url, serving.READ) as other:
        for text in ("a cat on a couch", "a castle at night"):
            wanted = [(row.id, row.score) for row in client.search(text, n=10, all=True)]
            assert [(row.id, row.score) for row in other.search(text, n=10, all=True)] == wanted
    assert restored.stop() == 0


def test_truth_alone_is_enough(server: serving.Served, client: Client, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    copy.mkdir()
    shutil.copy2(server.index / "index.json", copy)
    shutil.copytree(server.index / "segments", copy / "segments")
    restored = serving.serve(tmp_path, copy)
    with Client(restored.url, serving.READ) as other:
        wanted = [row.id for row in client.search("a cat on a couch", n=10, all=True)]
        assert [row.id for row in other.search("a cat on a couch", n=10, all=True)] == wanted
    assert restored.stop() == 0


def metrics(server: serving.Served) -> str:
    request = urllib.request.Request(f"{server.url}/metrics", headers={"authorization": f"Bearer {serving.READ}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.read().decode())


def test_the_numbers_that_alerts_and_the_page_of_operations_name_are_there(
    server: serving.Served, client: Client
) -> None:
    client.search("a cat on a couch", n=1, exact=True)
    told = metrics(server)
    alerts = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    rules = " ".join(rule["expr"] for group in alerts["groups"] for rule in group["rules"])
    page = (serving.ROOT / "docs" / "operations.md").read_text()
    for rule in alerts["groups"][0]["rules"]:
        assert rule["alert"] in page
    # Counted only when something was refused.
    never_here = {"bt_refused_total", "bt_connections_refused_total"}
    for name in set(re.findall(r"\bbt_[a-z_]+", rules + page)) - never_here - {"bt_server"}:
        assert re.search(rf"^{name}(_bucket)?[ {{]", told, re.MULTILINE), f"{name} is not in /metrics"
    assert re.search(r'bt_request_seconds_bucket\{route="/v1/search",method="POST",status="200",le=', told)


@pytest.mark.parametrize("program", ["bt-server", "bt-index"])
def test_every_flag_that_deploy_and_the_page_use_exists(program: str) -> None:
    run = subprocess.run([serving.program(program), "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"--[a-z][a-z-]+", run.stdout))
    texts = [path.read_text() for path in (*(DEPLOY / "systemd").iterdir(), serving.ROOT / "docs" / "operations.md")]
    used = set()
    for line in "\n".join(texts).splitlines():
        if "systemctl" in line:  # names a unit, not the program
            continue
        for command in re.findall(rf"\b{program}((?: +[^`|]*)?)", line):
            used |= set(re.findall(r"(?<=\s)--[a-z][a-z-]+", command))
    assert used and used <= known, f"unknown: {used - known}"
