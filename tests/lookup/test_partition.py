"""I5: live, cancelled, claimed, withdrawn and lost ranges partition what was issued, whatever happened."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import successor
from certificates.lifecycle import Status
from certificates.ranges import Range, partitions
from config.errors import BadRequest

STEPS = ("transfer", "split", "merge", "reserve", "cancel", "claim", "withdraw", "lose", "evict loss")


class History:
    """A random life of one issuance, and what is expected of each of its certificates."""

    def __init__(self, node: Any, random: Random) -> None:
        self.node, self.random = node, random
        self.coins: list[bytes] = []
        self.expected = ["Active"] * 1001
        self.withdrawn: list[Range] = []
        self.losses: list[tuple[bytes, bytes, str]] = []

    async def begin(self) -> None:
        self.coins = [await self.node.issue()]

    async def step(self, name: str) -> None:
        if self.coins:
            await getattr(self, "_" + name.replace(" ", "_"))(self.random.choice(self.coins))

    def _status(self, coin: bytes) -> Status:
        return self.node.tokens[coin].bundle.status

    async def _move(self, coins: list[bytes], tokens: list[Any]) -> None:
        made = await self.node.replace(coins, tokens)
        self.coins = [each for each in self.coins if each not in coins] + made
        for token in tokens:
            self._expect(token.bundle.range, token.bundle.status.value)

    def _expect(self, part: Range, status: str) -> None:
        self.expected[part.start : part.end + 1] = [status] * part.quantity

    async def _transfer(self, coin: bytes) -> None:
        if self._status(coin) is Status.ACTIVE:
            await self._move([coin], [successor.transfer(self.node.tokens[coin], self.node.key())])

    async def _split(self, coin: bytes) -> None:
        token = self.node.tokens[coin]
        if token.bundle.quantity > 1 and self._status(coin) is Status.ACTIVE:
            first = self.random.randint(1, token.bundle.quantity - 1)
            keys = [self.node.key(), self.node.key()]
            await self._move([coin], successor.split(token, [first, token.bundle.quantity - first], keys))

    async def _merge(self, coin: bytes) -> None:
        own = self.node.tokens[coin].bundle
        for other in self.coins:
            bundle = self.node.tokens[other].bundle
            if bundle.range.start == own.range.end + 1 and {own.status, bundle.status} == {Status.ACTIVE}:
                tokens = [self.node.tokens[coin], self.node.tokens[other]]
                await self._move([coin, other], [successor.merge(tokens, self.node.key())])
                return

    async def _reserve(self, coin: bytes) -> None:
        if self._status(coin) is Status.ACTIVE:
            await self._move([coin], [successor.reserve(self.node.tokens[coin], self.node.key())])

    async def _cancel(self, coin: bytes) -> None:
        if self._status(coin) in (Status.ACTIVE, Status.RESERVED):
            await self._move([coin], [successor.cancel(self.node.tokens[coin], "ACME", self.node.key())])

    async def _claim(self, coin: bytes) -> None:
        if self._status(coin) is Status.CANCELLED:
            await self._move([coin], [successor.claim(self.node.tokens[coin], self.node.key())])

    async def _withdraw(self, coin: bytes) -> None:
        start = self.random.randint(1, 1000)
        part = Range(start, self.random.randint(start, min(1000, start + 200)))
        await self.node.notice(coin, part)
        self.withdrawn.append(part)

    async def _lose(self, coin: bytes) -> None:
        bundle = self.node.tokens[coin].bundle
        txid = await self.node.lose(coin)
        self.coins.remove(coin)
        self.losses.append((coin, txid, bundle.status.value))
        self._expect(bundle.range, "lost")

    async def _evict_loss(self, _coin: bytes) -> None:
        if self.losses:
            coin, txid, status = self.losses.pop()
            await self.node.unspend(coin, txid)
            self.coins.append(coin)
            self._expect(self.node.tokens[coin].bundle.range, status)

    def shown(self, number: int) -> str:
        is_withdrawn = any(part.start <= number <= part.end for part in self.withdrawn)
        return "Withdrawn" if is_withdrawn else self.expected[number]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=14), st.integers(0, 2**32))
def test_ranges_partition_what_was_issued(small_node: Any, steps: list[str], seed: int) -> None:
    async def run() -> None:
        async with small_node() as node:
            history = History(node, Random(seed))
            await history.begin()
            issuance = next(iter(node.tokens))
            await node.issue()
            for step in steps:
                await history.step(step)
            check(await node.ranges(issuance), history)
            await check_listing(node, history)

    asyncio.run(run())


def check(result: Any, history: History) -> None:
    parts = [Range(part["start"], part["end"]) for part in result["ranges"]]
    assert parts == sorted(parts)
    assert partitions(parts, [Range(1, 1000)])
    assert result["is_partition"]
    for part in result["ranges"]:
        statuses = {history.shown(number) for number in range(part["start"], part["end"] + 1)}
        assert statuses == {part["status"]}
        assert (part["token_status"] == part["status"]) or part["status"] in ("Withdrawn", "lost")
    assert sum(result["totals"].values()) == 1000


async def check_listing(node: Any, history: History) -> None:
    """A listing by status agrees: an output is withdrawn when any of its certificates is."""
    for coin in history.coins:
        part = node.tokens[coin].bundle.range
        shown = {history.shown(number) for number in range(part.start, part.end + 1)}
        status = "Withdrawn" if "Withdrawn" in shown else shown.pop()
        assert coin in await node.find(status=status)


async def test_an_unknown_issuance_has_no_ranges(node: Any) -> None:
    answer = await node.ask({"ranges": {"issuance_id": "nothing"}})
    assert answer.result == {"issuance_id": "nothing", "issued": None, "ranges": []}


async def test_a_gap_is_shown(node: Any) -> None:
    whole = await node.issue()
    halves = await node.replace([whole], successor.split(node.tokens[whole], [10, 990], [node.key(), node.key()]))
    await node.remove(halves[0], evicted=True)
    result = await node.ranges(whole)
    assert not result["is_partition"]
    assert result["ranges"][0] == {"start": 1, "end": 10, "quantity": 10, "status": "unknown"}
    assert result["totals"] == {"unknown": 10, "Active": 990}


async def test_a_lost_range_names_who_did_it(node: Any) -> None:
    coin = await node.issue()
    txid = await node.lose(coin)
    (part,) = (await node.ranges(coin))["ranges"]
    assert part["lost_by"] == txid[::-1].hex()
    assert part["outpoint"] == f"{coin[31::-1].hex()}.0"


async def test_too_many_outputs_are_refused(small_node: Any) -> None:
    async with small_node(lookup_scan=100) as node:
        whole = await node.issue()
        keys = [node.key() for _ in range(100)]
        await node.replace([whole], successor.split(node.tokens[whole], [10] * 100, keys))
        with pytest.raises(BadRequest, match="more than 100 outputs"):
            await node.ranges(whole)
