"""What judges a minting campaign finds every way to go wrong; and the campaign bites a minter that is naive."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import aiohttp
import pytest
from base58 import b58decode, b58encode
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bench.chain_reader import Chain, Lags
from bench.mint_campaign import Plan, fails, run
from bench.mint_check import Book, Owed, Terms, Verdict, checked
from bench.mint_processes import Fate
from bench.mint_report import Result, report
from bench.mint_worker import DECIMALS, Kind, Step
from bridge.cluster.cluster import Cluster
from bridge.programs.keys import FileSigner
from bridge.programs.mode import Facts, Order
from bridge.programs.own import OwnMint
from bridge.programs.packing import Packed
from bridge.programs.setup import create_mint
from bridge.programs.signing import signed
from bridge.solana.client import ClusterClient
from tests.bridge.minting_kit import FINAL_SLOTS, SOL, slots_passing, wallet


@pytest.fixture
def slot_ms() -> int:
    return 0


@dataclass
class Scene:
    """Readings that are owed, and what somebody minted for them."""

    cluster: Cluster
    rpc: ClusterClient
    chain: Chain
    signer: FileSigner
    mode: OwnMint
    owed: list[Owed] = field(default_factory=list)
    books: dict[str, Book] = field(default_factory=dict)
    recorded: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def owe(self, count: int) -> list[Owed]:
        self.owed = [
            Owed(
                b58encode(bytes([number]) * 16).decode(),
                f"M-{number}",
                300_000 * number,
                "1.500000",
                str(wallet(number % 2)),
            )
            for number in range(1, count + 1)
        ]
        return self.owed

    def order(self, owed: Owed) -> Order:
        key, to = b58decode(owed.reading), Pubkey.from_string(owed.wallet)
        return Order(key, owed.meter, owed.interval_start_ms, to, owed.units(DECIMALS))

    async def mint(
        self, orders: Sequence[Order], *, memo_of: Sequence[Order] | None = None, has_markers: bool = True
    ) -> str:
        """Mint, and book it as the node would."""
        instructions: list[Instruction] = []
        for order in orders:
            instructions += self.mode.instructions(order, Facts(has_destination=False, guard_lamports=0))
        if not has_markers:
            instructions = [each for each in instructions if each.program_id != SYSTEM_PROGRAM_ID]
        named = orders if memo_of is None else memo_of
        instructions += [self.mode.memo(named)] if named else []
        blockhash = await self.rpc.latest_blockhash()
        made = await signed(Packed((), tuple(instructions), self.signer.public), blockhash.value, [self.signer])
        signature = str(await self.rpc.send(bytes(made)))
        await self.cluster.advance(FINAL_SLOTS)
        for order in orders:
            self.books.setdefault(b58encode(order.key).decode(), Book("minted", signature))
            self.recorded[signature, str(self.mode.destination(order)), order.units] += 1
        return signature

    async def mint_all(self) -> None:
        await self.mint([self.order(each) for each in self.owed])

    async def judge(self) -> Verdict:
        terms = Terms(str(self.mode.mint), str(self.signer.public), DECIMALS, has_markers=True)
        return await checked(self.chain, terms, self.owed, self.books, self.recorded)


@pytest.fixture
async def scene(cluster: Cluster, solana: SolanaServer) -> AsyncIterator[Scene]:
    rpc, signer = ClusterClient(solana.rpc_url), FileSigner(Keypair())
    await rpc.airdrop(signer.public, SOL)
    await cluster.advance(2)
    async with slots_passing(cluster):
        mint = await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=DECIMALS)
    await cluster.advance(FINAL_SLOTS)
    mode = OwnMint(await rpc.genesis_hash(), mint, TOKEN_PROGRAM_ID, signer.public, DECIMALS)
    async with aiohttp.ClientSession() as session:
        yield Scene(cluster, rpc, Chain(session, solana.rpc_url), signer, mode)
    await rpc.close()


def kinds(verdict: Verdict) -> set[str]:
    return {fault.partition(":")[0] for fault in verdict.faults}


# What the judge finds


async def test_each_reading_once_is_exact(scene: Scene) -> None:
    first, *others = scene.owe(4)
    await scene.mint([scene.order(first)])
    await scene.mint([scene.order(each) for each in others])
    verdict = await scene.judge()
    assert verdict.faults == []
    assert (verdict.mints, verdict.transactions, verdict.supply_units) == (4, 2, 4 * 1_500_000_000)


async def test_a_reading_minted_twice(scene: Scene) -> None:
    first, _ = scene.owe(2)
    await scene.mint_all()
    await scene.mint([scene.order(first)], has_markers=False)
    verdict = await scene.judge()
    assert kinds(verdict) == {"double", "unmarked", "supply", "wallets_off"}
    assert (verdict.double, verdict.surplus_mints, verdict.lost) == (1, 1, 0)


async def test_a_reading_never_minted(scene: Scene) -> None:
    first, second = scene.owe(2)
    await scene.mint([scene.order(first)])
    verdict = await scene.judge()
    assert kinds(verdict) == {"lost", "unfinished", "unmarked", "supply", "wallets_off"}
    scene.books[second.reading] = Book("minted", scene.books[first.reading].signature)
    assert kinds(await scene.judge()) == {"lost", "misbooked", "unmarked", "supply", "wallets_off"}


async def test_other_units_or_another_wallet(scene: Scene) -> None:
    first, second = map(scene.order, scene.owe(2))
    await scene.mint([replace(first, units=first.units + 1), replace(second, wallet=wallet(7))])
    verdict = await scene.judge()
    assert kinds(verdict) == {"wrong", "supply", "wallets_off"}
    assert verdict.wrong == 2


@pytest.mark.parametrize("memo_of", [[], [Order(b"\xee" * 16, "M-9", 0, wallet(0), 1)]])
async def test_mints_of_nobody(scene: Scene, memo_of: Sequence[Order]) -> None:
    first, *_ = scene.owe(2)
    await scene.mint_all()
    await scene.mint([scene.order(first)], memo_of=memo_of, has_markers=False)
    verdict = await scene.judge()
    assert (verdict.stray, verdict.double) == (1, 0)
    assert kinds(verdict) == {"stray", "supply", "wallets_off"}


async def test_one_marker_for_two(scene: Scene) -> None:
    first, second = map(scene.order, scene.owe(2))
    await scene.mint([first])
    await scene.mint([second], has_markers=False)
    verdict = await scene.judge()
    assert kinds(verdict) == {"unmarked"}


async def test_books_and_records_that_differ_from_the_chain(scene: Scene) -> None:
    first, _ = scene.owe(2)
    await scene.mint_all()
    scene.books[first.reading] = Book("signed", None)
    scene.recorded[str("1" * 64), "nobody", 1] += 1
    assert kinds(await scene.judge()) == {"unfinished", "misrecorded"}


# The campaign


def test_every_step_has_its_turn() -> None:
    fate = Fate(Random(1), Kind.REAL)
    assert {step for step, _ in (fate.draw() for _ in range(20))} == {*Step, None}
    assert "attempt" not in " ".join(Kind.NAIVE.steps)


def test_what_the_exit_status_says() -> None:
    good, bad = Verdict(), Verdict(double=1, faults=["double: one"])

    def of(kind: Kind, verdict: Verdict) -> Result:
        return Result(kind, 1, verdict, Counter(), Counter(), 1.0)

    assert fails([of(Kind.REAL, good), of(Kind.NAIVE, bad), of(Kind.UNMARKED, bad)]) == []
    assert fails([of(Kind.REAL, bad)]) == ["the real worker, seed 1: double: one"]
    assert fails([of(Kind.NAIVE, good)]) == ["the naive worker doubled nothing: the campaign does not bite"]
    assert "double: one" in report([of(Kind.REAL, bad)])


@pytest.mark.timeout(180)
async def test_it_bites_a_naive_minter(tmp_path: Path) -> None:
    result = await run(Plan(Kind.NAIVE, 3, 60, tmp_path, slot_ms=10, storm_secs=8, rest_secs=10))
    assert result.verdict.double > 0
    assert result.verdict.supply_units != result.verdict.owed_units


async def test_a_reader_is_not_content_with_a_node_that_lags(scene: Scene) -> None:
    """What was final before it looked must be there."""
    final = scene.cluster.slot("finalized")
    await scene.chain.call("dev_lag", 5)
    with pytest.raises(Lags, match=f"not yet {final}"):
        _ = [slot async for slot, _ in scene.chain.transactions(final)]
    await scene.chain.call("dev_lag", 0)
    assert [slot async for slot, _ in scene.chain.transactions(final)]
