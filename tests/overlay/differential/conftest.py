"""The TypeScript SDK, as the interop tests install it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.fuzz_envelopes import Ground
from tests.interop.conftest import node_modules

__all__ = ["node_modules", "typescript"]

JUDGE = Path(__file__).with_name("judge.mjs")

Judge = Callable[[Ground, Sequence[bytes]], list[str | None]]


@pytest.fixture(scope="session")
def typescript(node_modules: Path) -> Judge:
    """Verdicts of `@bsv/sdk`: None for what it takes, else why not."""

    def judge(ground: Ground, envelopes: Sequence[bytes]) -> list[str | None]:
        question = {
            "sdk": str(node_modules / "@bsv" / "sdk"),
            "roots": {height: root[::-1].hex() for height, root in ground.roots.items()},
            "tip": ground.tip_height,
            "envelopes": [data.hex() for data in envelopes],
        }
        command = ["node", str(JUDGE)]
        done = subprocess.run(
            command, input=json.dumps(question), capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, done.stderr
        verdicts: list[str | None] = json.loads(done.stdout.splitlines()[-1])
        assert len(verdicts) == len(envelopes)
        return verdicts

    return judge
