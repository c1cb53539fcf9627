"""A process that keeps to one processor, and its helpers, which need not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, subprocess, sys
from config.processors import allowed, keep_to, let_roam
before = allowed()
if "keep" in sys.argv:
    keep_to(before, len(before) - 1)
helper = subprocess.Popen(["sleep", "60"])
try:
    inherited = os.sched_getaffinity(helper.pid)
    let_roam(helper.pid)
    roaming = os.sched_getaffinity(helper.pid)
finally:
    helper.kill()
    helper.wait()
let_roam(helper.pid)
last = set(before[-1:]) if "keep" in sys.argv else set(before)
assert set(allowed()) == inherited == last, (allowed(), inherited)
assert roaming == set(before), roaming
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux keeps processes to processors")
@pytest.mark.parametrize("what", ["keep", "roam"])
def test_a_helper_roams_and_one_that_is_gone_is_no_matter(what: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, what], check=True, cwd=ROOT, timeout=60)
