"""The process that runs scripts which are not plain, where neither time nor memory can hurt the node.

Started by `overlay/verifier.py` as `python -m overlay.verify_worker <memory limit in MiB>`. Frames on stdin
and stdout are a u32 length and msgpack: a request is a list of `[raw transaction, [[satoshis, script], …]]`,
the reply is an empty string, or what failed.
"""

from __future__ import annotations

import resource
import sys
from typing import BinaryIO

import msgspec

from config.errors import MetawattError
from overlay.transaction import Output, Transaction
from overlay.verify import SpendJob, run

Wire = list[tuple[bytes, list[tuple[int, bytes]]]]


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
        return error.message
    except MemoryError:
        return "the scripts need more memory than they may have"
    return ""


def _read_frame(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return stream.read(int.from_bytes(head, "little"))


def main() -> None:
    memory_bytes = int(sys.argv[1]) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while (request := _read_frame(stdin)) is not None:
        reply = _run_all(request).encode()
        stdout.write(len(reply).to_bytes(4, "little") + reply)
        stdout.flush()


if __name__ == "__main__":
    main()
