"""A Solana cluster asked over plain JSON-RPC, and what it minted, read from its blocks.

It shares no code with the bridge: what the bridge believes is held against what is read here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import aiohttp
from base58 import b58decode

SYSTEM_PROGRAM: Final = "11111111111111111111111111111111"
TOKEN_PROGRAM: Final = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
MEMO_PROGRAM: Final = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
MEMO_PREFIX: Final = "gwx1:reading:"
_ALLOCATE_WITH_SEED: Final = (9).to_bytes(4, "little")
_MINT_TO: Final = 7
_MINT_TO_CHECKED: Final = 14
_BLOCKS_A_CALL: Final = 100


class RpcError(Exception):
    """The cluster answered with an error."""


class Lags(RpcError):
    """It does not tell yet what is final already."""


class Chain:
    """The cluster at `url`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session
        self._ids = count(1)

    async def call(self, method: str, *params: Any) -> Any:
        """The result. Raises `RpcError`, `aiohttp.ClientError`."""
        (answer,) = await self.calls(method, [params])
        return answer

    async def calls(self, method: str, many: Sequence[Sequence[Any]]) -> list[Any]:
        """The results of several calls of one method, in one request."""
        asked = [{"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": each} for each in many]
        async with self._session.post(self.url, json=asked) as response:
            answers = {each["id"]: each for each in await response.json()}
        found = [answers[each["id"]] for each in asked]
        for each in found:
            if "error" in each:
                raise RpcError(f"{method}: {each['error']['message']}")
        return [each["result"] for each in found]

    async def final_slot(self) -> int:
        """As far as it tells."""
        return int(await self.call("getSlot", {"commitment": "finalized"}))

    async def transactions(self, at_least: int = 0) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Every final transaction since genesis with its slot, in the chain's order. Raises `Lags` when the last
        slot that is told is before `at_least`."""
        last = await self.final_slot()
        if last < at_least:
            raise Lags(f"slot {last} is told as final, and not yet {at_least}")
        slots = await self.call("getBlocks", 0, last, {"commitment": "finalized"})
        config = {"encoding": "json", "maxSupportedTransactionVersion": 0, "rewards": False}
        for start in range(0, len(slots), _BLOCKS_A_CALL):
            page = slots[start : start + _BLOCKS_A_CALL]
            blocks = await self.calls("getBlock", [[slot, config] for slot in page])
            for slot, block in zip(page, blocks, strict=True):
                for transaction in block["transactions"]:
                    yield slot, transaction


@dataclass(frozen=True, slots=True)
class Minted:
    """One mint of a final transaction. `reading` is the id that the memo has in its place, None where the memo
    does not name as many readings as were minted; `marker` the account allocated for it, None without one."""

    signature: str
    slot: int
    destination: str
    units: int
    reading: str | None
    marker: str | None


@dataclass(frozen=True, slots=True)
class Instruction:
    program: str
    accounts: tuple[str, ...]
    data: bytes


async def mints_of(chain: Chain, mint: str) -> tuple[list[Minted], int]:
    """All that was ever minted of `mint`, in the chain's order; and how many transactions failed on the chain."""
    found: list[Minted] = []
    failed = 0
    async for slot, transaction in chain.transactions():
        if transaction["meta"]["err"] is not None:
            failed += 1
            continue
        found += _mints(slot, transaction, mint)
    return found, failed


def _mints(slot: int, transaction: dict[str, Any], mint: str) -> list[Minted]:
    signature = transaction["transaction"]["signatures"][0]
    made: list[tuple[str, int, str | None]] = []
    named: list[str] = []
    marker: str | None = None
    for one in instructions(transaction):
        if one.program == SYSTEM_PROGRAM and one.data[:4] == _ALLOCATE_WITH_SEED:
            marker = one.accounts[0]
        elif one.program == MEMO_PROGRAM:
            named += _named(one.data)
        elif _is_mint(one, mint):
            made.append((one.accounts[1], int.from_bytes(one.data[1:9], "little"), marker))
            marker = None
    readings: Sequence[str | None] = named if len(named) == len(made) else [None] * len(made)
    return [
        Minted(signature, slot, destination, units, reading, its_marker)
        for (destination, units, its_marker), reading in zip(made, readings, strict=True)
    ]


def _is_mint(one: Instruction, mint: str) -> bool:
    return one.program == TOKEN_PROGRAM and one.data[0] in (_MINT_TO, _MINT_TO_CHECKED) and one.accounts[0] == mint


def instructions(transaction: dict[str, Any]) -> Iterator[Instruction]:
    """All instructions in the order in which they ran, those that others called included."""
    message, meta = transaction["transaction"]["message"], transaction["meta"]
    loaded = meta.get("loadedAddresses") or {"writable": [], "readonly": []}
    keys = [*message["accountKeys"], *loaded["writable"], *loaded["readonly"]]
    inner = {each["index"]: each["instructions"] for each in meta.get("innerInstructions") or ()}
    for index, outer in enumerate(message["instructions"]):
        for each in (outer, *inner.get(index, ())):
            accounts = tuple(keys[at] for at in each["accounts"])
            yield Instruction(keys[each["programIdIndex"]], accounts, b58decode(each["data"]))


def _named(memo: bytes) -> list[str]:
    text = memo.decode(errors="replace")
    return text.removeprefix(MEMO_PREFIX).split(",") if text.startswith(MEMO_PREFIX) else []
