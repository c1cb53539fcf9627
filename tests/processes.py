"""The helper processes of the process that runs the tests."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def helpers(module: str) -> list[int]:
    """The pids of this process's children that run `python -m module`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            command = (entry / "cmdline").read_bytes()
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if parent == str(os.getpid()) and module.encode() in command.split(b"\0"):
                found.append(int(entry.name))
    return found


def kill_helpers(module: str) -> list[int]:
    """Kill them; their pids."""
    found = helpers(module)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found
