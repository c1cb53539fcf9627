"""Advisory locks of the system, which releases them when a process ends, however it ends."""

from __future__ import annotations

from fcntl import LOCK_NB, flock


def locked(descriptor: int, kind: int) -> bool:
    """Lock an open file as `kind` (LOCK_EX or LOCK_SH) if nobody is in the way; whether it was locked."""
    try:
        flock(descriptor, kind | LOCK_NB)
    except BlockingIOError:
        return False
    return True
