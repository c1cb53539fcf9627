"""kill -9: what was acknowledged is there, and a commit is there whole or not at all."""

from __future__ import annotations

import importlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store.port import Find
from store.sqlite import SqliteStore

COMMITTER = Path(__file__).with_name("committer.py")
ROOT = COMMITTER.parents[2]


def killed(path: Path, first: int, after_secs: float) -> list[int]:
    """Run the committer and kill it; the numbers that it said are committed."""
    with subprocess.Popen(
        [sys.executable, str(COMMITTER), str(path), str(first)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    ) as child:
        begun = child.stdout.readline()
        time.sleep(after_secs)
        child.kill()
        rest = child.stdout.read()
        assert child.wait(10) == -signal.SIGKILL
    # A line that was cut off by the kill is not an acknowledgement.
    return [int(line) for line in (begun + rest).decode().splitlines(keepends=True) if line.endswith("\n")]


async def test_acknowledged_commits_survive_kill_9(tmp_path: Path) -> None:
    committer = importlib.import_module("tests.store.committer")
    path, acknowledged = tmp_path / "node.db", set[int]()
    for round_ in range(5):
        acknowledged.update(killed(path, 1_000_000 * round_, random.uniform(0.05, 0.4)))
        store = SqliteStore(path)
        await store.open([committer.LEFT, committer.RIGHT, committer.TALLY])
        page = await store.find(committer.LEFT, Find(limit=1_000_000))
        left = {document["_id"] for document in page.documents}
        page = await store.find(committer.RIGHT, Find(limit=1_000_000))
        right = {int.from_bytes(document["_id"], "little") for document in page.documents}
        tally = (await store.get(committer.TALLY, "n"))["n"]
        assert await store.check() == []
        await store.close()
        assert acknowledged <= left
        assert left == right
        assert tally in left
    assert len(acknowledged) > 50


@pytest.fixture(autouse=True)
def _root_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
