"""Frames between a process and its helper (`overlay.helper`): a u32 length, little-endian, and a body."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import BinaryIO, Final

HEAD_BYTES: Final = 4


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(HEAD_BYTES, "little") + body


def length_of(head: bytes) -> int:
    """How long the body is that follows."""
    return int.from_bytes(head, "little")


def answer_frames(answer: Callable[[bytes], bytes]) -> None:
    """The helper's side: a reply on stdout to each request on stdin, until there are no more. Blocks."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while (request := _next_body(stdin)) is not None:
        stdout.write(framed(answer(request)))
        stdout.flush()


def _next_body(stream: BinaryIO) -> bytes | None:
    head = stream.read(HEAD_BYTES)
    return stream.read(length_of(head)) if len(head) == HEAD_BYTES else None
