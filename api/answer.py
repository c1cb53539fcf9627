"""A lookup's answer on the wire: JSON with bytes as numbers, or the aggregated binary form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from api.ports import FoundOutput, OutputList
from config.errors import BadRequest, ErrorCode
from overlay.varint import write_varint

# Bytes to encode before other requests get their turn; about a millisecond of work.
_TURN_BYTES: Final = 128 * 1024
_encode = msgspec.json.Encoder().encode


async def json_chunks(answer: OutputList, limit_bytes: int) -> list[bytes]:
    """The JSON answer in pieces. `BadRequest(RESPONSE_TOO_LARGE)` as soon as it exceeds the limit."""
    return await _gather(_json_pieces(answer), limit_bytes)


async def binary_chunks(answer: OutputList, limit_bytes: int) -> list[bytes]:
    """The aggregated answer in pieces: outpoints with their contexts, then one BEEF V2 over all."""
    return await _gather(_binary_pieces(answer), limit_bytes)


def _json_pieces(answer: OutputList) -> Iterator[bytes]:
    yield b'{"type":"output-list","outputs":['
    comma = b""
    for output in answer.outputs:
        yield comma + _encode(_json_output(answer, output))
        comma = b","
    yield b"]"
    if answer.cursor is not None:
        yield b',"cursor":' + _encode(answer.cursor)
    yield b"}"


def _json_output(answer: OutputList, output: FoundOutput) -> dict[str, Any]:
    line: dict[str, Any] = {"beef": list(answer.beef(output)), "outputIndex": output.output_index}
    if output.context is not None:
        line["context"] = list(output.context)
    return line


def _binary_pieces(answer: OutputList) -> Iterator[bytes]:
    yield write_varint(len(answer.outputs)) + b"".join(map(_outpoint_line, answer.outputs))
    yield from answer.aggregated()


def _outpoint_line(output: FoundOutput) -> bytes:
    """Txid in display order, as the clients turn these bytes into hex without reversing them."""
    context = output.context or b""
    return output.txid[::-1] + write_varint(output.output_index) + write_varint(len(context)) + context


async def _gather(pieces: Iterable[bytes], limit_bytes: int) -> list[bytes]:
    chunks: list[bytes] = []
    total = turn = 0
    for piece in pieces:
        chunks.append(piece)
        total += len(piece)
        if total > limit_bytes:
            raise too_large(limit_bytes)
        if total - turn >= _TURN_BYTES:
            turn = total
            await asyncio.sleep(0)
    return chunks


def too_large(limit_bytes: int) -> BadRequest:
    return BadRequest(
        f"The answer exceeds {limit_bytes} bytes; ask with a smaller limit", ErrorCode.RESPONSE_TOO_LARGE
    )
