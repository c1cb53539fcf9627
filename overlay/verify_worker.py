"""The process that runs scripts which are not plain, where neither time nor memory can hurt the node.

Started by `overlay/verifier.py` as `python -m overlay.verify_worker <memory in MiB> <seconds a request>`. Frames
on stdin and stdout are a u32 length and a body: a request is, in msgpack, a list of
`[raw transaction, [[satoshis, script], …]]`; the reply is empty, or an error code, a space and what failed.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from functools import partial

import msgspec

from config.errors import ErrorCode, MetawattError
from overlay.frames import answer_frames
from overlay.transaction import Output, Transaction
from overlay.verify import SpendJob, run

Wire = list[tuple[bytes, list[tuple[int, bytes]]]]

_NICENESS = 10
"""The event loop comes first when cores are few."""


def encode_jobs(jobs: list[SpendJob]) -> bytes:
    return msgspec.msgpack.encode(
        [(job.transaction.raw, [(source.satoshis, source.script) for source in job.sources]) for job in jobs]
    )


def _run_all(request: bytes) -> str:
    try:
        for raw, sources in msgspec.msgpack.decode(request, type=Wire):
            outputs = tuple(Output(satoshis, script) for satoshis, script in sources)
            run(SpendJob(Transaction.parse(raw), outputs))
    except MetawattError as error:
        return f"{error.code} {error.message}"
    except MemoryError:
        return f"{ErrorCode.SCRIPT_TOO_COSTLY} the scripts need more memory than they may have"
    return ""


def _timed(most_secs: float, request: bytes) -> bytes:
    # The node kills a worker that takes too long; this ends one whose node has died meanwhile.
    signal.setitimer(signal.ITIMER_REAL, most_secs)
    reply = _run_all(request).encode()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return reply


def main() -> None:
    os.nice(_NICENESS)
    memory_bytes, most_secs = int(sys.argv[1]) * 1024 * 1024, float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answer_frames(partial(_timed, most_secs))


if __name__ == "__main__":
    main()
