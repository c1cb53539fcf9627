"""A short run of `bench.fuzz_envelopes`, in a process of its own so that not even a crash would go unseen."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("seed", [2, 3])
def test_mutated_envelopes_yield_declared_errors_only(seed: int) -> None:
    command = [sys.executable, "-m", "bench.fuzz_envelopes", "--mutations", "10000", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for outcome in ("accepted", "MALFORMED", "ANCESTOR_MISSING", "MERKLE_PATH_INVALID", "SCRIPT_INVALID"):
        assert outcome in done.stdout
