"""A transaction's record as the store keeps it: one compact MessagePack array."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.executed import Executed, InnerCall, ReturnData, TokenHolding

_KEY_BYTES: Final = 32
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder()


def packed(executed: Executed) -> bytes:
    """All of a record, bytes; see `unpacked`."""
    places = {key: index for index, key in enumerate(executed.keys)}
    returned = executed.return_data
    return _encoder.encode(
        (
            bytes(executed.signature),
            executed.slot,
            executed.index,
            executed.block_time,
            executed.raw,
            executed.error,
            b"".join(bytes(key) for key in executed.keys),
            executed.loaded_writable,
            executed.loaded_readonly,
            executed.logs,
            [
                (index, [(call.program, call.accounts, call.data, call.stack_height) for call in calls])
                for index, calls in executed.inner
            ],
            executed.fee,
            executed.compute_units,
            executed.pre_lamports,
            executed.post_lamports,
            _tokens_packed(executed.pre_tokens),
            _tokens_packed(executed.post_tokens),
            None if returned is None else (bytes(returned.program), returned.data),
            executed.memo,
            bytes(places[address] for address in executed.changed),
        )
    )


def _tokens_packed(holdings: tuple[TokenHolding, ...]) -> list[tuple[Any, ...]]:
    return [
        (each.account, bytes(each.mint), bytes(each.owner), bytes(each.program), each.units, each.decimals)
        for each in holdings
    ]


def unpacked(body: bytes) -> Executed:
    """The record that `packed` made these bytes of."""
    (
        signature,
        slot,
        index,
        block_time,
        raw,
        error,
        joined,
        loaded_writable,
        loaded_readonly,
        logs,
        inner,
        fee,
        compute_units,
        pre_lamports,
        post_lamports,
        pre_tokens,
        post_tokens,
        returned,
        memo,
        changed,
    ) = _decoder.decode(body)
    keys = tuple(Pubkey(joined[at : at + _KEY_BYTES]) for at in range(0, len(joined), _KEY_BYTES))
    return Executed(
        signature=Signature(signature),
        slot=slot,
        index=index,
        block_time=block_time,
        raw=raw,
        error=error,
        keys=keys,
        loaded_writable=loaded_writable,
        loaded_readonly=loaded_readonly,
        logs=tuple(logs),
        inner=tuple((outer, tuple(InnerCall(*call) for call in calls)) for outer, calls in inner),
        fee=fee,
        compute_units=compute_units,
        pre_lamports=tuple(pre_lamports),
        post_lamports=tuple(post_lamports),
        pre_tokens=_tokens_unpacked(pre_tokens),
        post_tokens=_tokens_unpacked(post_tokens),
        return_data=None if returned is None else ReturnData(Pubkey(returned[0]), returned[1]),
        memo=memo,
        changed=tuple(keys[place] for place in changed),
    )


def _tokens_unpacked(rows: list[Any]) -> tuple[TokenHolding, ...]:
    return tuple(
        TokenHolding(account, Pubkey(mint), Pubkey(owner), Pubkey(program), units, decimals)
        for account, mint, owner, program, units, decimals in rows
    )
