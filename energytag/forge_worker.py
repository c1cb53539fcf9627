"""The process that signs issuances. Started by `energytag/forge.py` as `python -m energytag.forge_worker`.

On stdin comes the node's key, 32 bytes, then requests. Frames on stdin and stdout are a u32 length and a body in
msgpack: a request is the outpoint that input 0 spends, and for each issuance, in the order of the outputs, its
attributes, first and last number, account, identity, whether that is custodial, extras, origin, and the key of a
party outside; the reply is a list of `compose.Forged`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from basket.keyring import Keyring
from certificates.bundle import Bundle
from certificates.ranges import Range
from energytag.compose import forge
from energytag.plan import Holder, Issue
from overlay.frames import answer_frames
from overlay.keys import PrivateKey

Wire: TypeAlias = tuple[bytes, list[tuple[dict[str, Any], int, int, str, bytes, bool, dict[str, Any], Any, bytes]]]
_KEY_BYTES: Final = 32
_NICENESS: Final = 5
"""The event loop comes first when cores are few."""


def encode_request(pieces: Sequence[Issue], first_outpoint: bytes) -> bytes:
    return msgspec.msgpack.encode(
        (
            first_outpoint,
            [
                (
                    piece.draft.attributes,
                    *piece.issued,
                    piece.holder.account_id,
                    piece.holder.identity,
                    piece.holder.is_custodial,
                    piece.extras,
                    piece.origin,
                    piece.owner_key,
                )
                for piece in pieces
            ],
        )
    )


def _answer(request: bytes, keyring: Keyring) -> bytes:
    first_outpoint, rows = msgspec.msgpack.decode(request, type=Wire)
    return msgspec.msgpack.encode(
        [forge(_issue(*row), first_outpoint, index, keyring) for index, row in enumerate(rows)]
    )


def _issue(
    attributes: dict[str, Any],
    start: int,
    end: int,
    account_id: str,
    identity: bytes,
    is_custodial: bool,
    extras: dict[str, Any],
    origin: Any,
    owner_key: bytes,
) -> Issue:
    holder = Holder(account_id, identity, is_custodial)
    return Issue(Bundle(attributes), Range(start, end), holder, lambda _: (), extras, origin, owner_key)


def main() -> None:
    os.nice(_NICENESS)
    keyring = Keyring(PrivateKey(sys.stdin.buffer.read(_KEY_BYTES)))
    answer_frames(lambda request: _answer(request, keyring))


if __name__ == "__main__":
    main()
