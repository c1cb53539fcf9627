"""Which processors a process runs on.

A process that serves finds its memory in the caches of the processor that it ran on last. Where every processor
has such a process, moving them about gains nothing, and costs that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

_shared: set[int] = set()
"""The processors of all processes of the node, when this one keeps to one of them."""


def allowed() -> list[int]:
    """The processors that this process may run on; none where that cannot be told."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def keep_to(processors: Sequence[int], number: int) -> None:
    """Run on one of the processors that the node's processes share, with the threads that are started from now on;
    anywhere, when they share none."""
    if processors and sys.platform == "linux":
        os.sched_setaffinity(0, {processors[number]})
        _shared.update(processors)


def let_roam(pid: int) -> None:
    """Let a helper that this process has just started run on all of them."""
    if _shared and sys.platform == "linux":
        with suppress(ProcessLookupError):
            os.sched_setaffinity(pid, _shared)
