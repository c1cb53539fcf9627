"""A helper for the tests of helpers: started as `python -m tests.overlay.echoing WORD`.

It reads a greeting of four bytes, and answers a request with WORD, the greeting and the request; `sleep` it never
answers, and at `leave` it ends.
"""

from __future__ import annotations

import sys
import time

from overlay.frames import answer_frames


def main() -> None:
    known = sys.argv[1].encode() + sys.stdin.buffer.read(4)

    def answer(request: bytes) -> bytes:
        if request == b"sleep":
            time.sleep(600)
        if request == b"leave":
            sys.exit()
        return known + request

    answer_frames(answer)


if __name__ == "__main__":
    main()
