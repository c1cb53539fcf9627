"""Witnesses: what they may differ in, lag in, and lie about; and real endpoints of one cluster."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.from_solana.endpoint import Horizon
from bridge.mirror.from_solana.source import pace_ms
from bridge.mirror.from_solana.witnesses import (
    AGREED,
    ENOUGH_MS,
    Opinion,
    Question,
    Verdict,
    Witnesses,
    differences,
    opinion_of,
    together,
)
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenTransaction
from bridge.watching.cursor import LAG_SLOTS
from tests.bridge.cluster_kit import Bench, TokenBench, keypair, memo, opened
from tests.bridge.deposits_kit import Vault, noted
from tests.bridge.lying_rpc import LyingRpc, lying
from tests.bridge.minting_kit import Clock

FINAL_SLOTS = 33
YOUNG_MS, OLD_MS = ENOUGH_MS - 1, ENOUGH_MS
SLOT = 1


@pytest.fixture(scope="module")
def deposit() -> SeenTransaction:
    vault = Vault()
    seen = vault.chain.run([vault.moved(vault.alice, vault.bridge, 5), noted("gwx1:x")], [vault.alice])
    return replace(seen, slot=SLOT)


# What may differ


def _more(seen: SeenTransaction, side: str) -> SeenTransaction:
    first, *others = getattr(seen, side)
    return replace(seen, **{side: (replace(first, units=first.units + 1), *others)})


@pytest.mark.parametrize(
    ("altered", "named"),
    [
        (lambda seen: replace(seen, slot=seen.slot + 1), "its slot"),
        (lambda seen: replace(seen, error={"InstructionError": [0, {"Custom": 1}]}), "its error"),
        (lambda seen: replace(seen, account_keys=seen.account_keys[::-1]), "its accounts"),
        (lambda seen: _more(seen, "pre_tokens"), "the balances before it"),
        (lambda seen: _more(seen, "post_tokens"), "the balances after it"),
        (lambda seen: replace(seen, post_tokens=seen.post_tokens[1:]), "the balances after it"),
    ],
)
def test_what_a_message_rests_on_must_be_the_same(
    deposit: SeenTransaction, altered: Callable[[SeenTransaction], SeenTransaction], named: str
) -> None:
    assert differences(deposit, altered(deposit)) == [named]
    said = opinion_of(Question(deposit, 0), altered(deposit), None)
    assert said.verdict is Verdict.DISPUTED
    assert named in said.text


def test_other_bytes_differ(deposit: SeenTransaction) -> None:
    vault = Vault()
    other = vault.chain.run([vault.moved(vault.alice, vault.bridge, 5), noted("gwx1:x")], [vault.alice])
    assert "its bytes" in differences(deposit, other)


@pytest.mark.parametrize(
    "altered",
    [
        lambda seen: replace(seen, block_time=123),
        lambda seen: replace(seen, logs=None),
        lambda seen: replace(seen, fee=seen.fee + 1),
        lambda seen: replace(seen, post_tokens=seen.post_tokens[::-1]),
        lambda seen: replace(seen, inner={0: ()}),
        lambda seen: replace(
            seen, pre_tokens=tuple(replace(each, owner=None, program=None) for each in seen.pre_tokens)
        ),
    ],
)
def test_what_releases_of_nodes_tell_differently_is_no_difference(
    deposit: SeenTransaction, altered: Callable[[SeenTransaction], SeenTransaction]
) -> None:
    assert opinion_of(Question(deposit, 0), altered(deposit), None) is AGREED


# Lagging, absent, contradicting

PAST = SLOT + LAG_SLOTS


@pytest.mark.parametrize(
    ("age_ms", "horizon", "verdict"),
    [
        (YOUNG_MS, None, Verdict.WAIT),
        (OLD_MS, None, Verdict.WAIT),
        (OLD_MS, Horizon(0, SLOT - 1), Verdict.WAIT),
        (OLD_MS, Horizon(0, PAST - 1), Verdict.WAIT),
        (YOUNG_MS, Horizon(0, PAST), Verdict.WAIT),
        (OLD_MS, Horizon(0, PAST), Verdict.DISPUTED),
        (OLD_MS, Horizon(SLOT, PAST), Verdict.DISPUTED),
        (OLD_MS, Horizon(SLOT + 1, PAST), Verdict.DISPUTED),
        (YOUNG_MS, Horizon(SLOT + 1, PAST), Verdict.WAIT),
    ],
)
def test_who_does_not_know_it(
    deposit: SeenTransaction, age_ms: int, horizon: Horizon | None, verdict: Verdict
) -> None:
    assert opinion_of(Question(deposit, age_ms), None, horizon).verdict is verdict


WAIT, NO = Opinion(Verdict.WAIT, "lags"), Opinion(Verdict.DISPUTED, "denies")


@pytest.mark.parametrize(
    ("opinions", "verdict", "text"),
    [
        ([AGREED], Verdict.AGREED, ""),
        ([AGREED, AGREED], Verdict.AGREED, ""),
        ([AGREED, WAIT], Verdict.WAIT, "lags"),
        ([WAIT, WAIT], Verdict.WAIT, "lags; lags"),
        ([AGREED, NO], Verdict.DISPUTED, "denies"),
        ([WAIT, NO], Verdict.DISPUTED, "denies"),
    ],
)
def test_together(opinions: list[Opinion], verdict: Verdict, text: str) -> None:
    assert together(opinions) == Opinion(verdict, text)


@given(age_ms=st.integers(-(10**12), 10**15), later_ms=st.integers(0, 10**9))
def test_the_longer_it_has_waited_the_longer_it_waits(age_ms: int, later_ms: int) -> None:
    assert 250 <= pace_ms(age_ms) <= pace_ms(age_ms + later_ms) <= 60_000


# Endpoints of one cluster


@dataclass
class Scene:
    """A deposit on an embedded cluster, a first endpoint, and a witness of the same cluster that may lie."""

    cluster: Cluster
    first: ClusterClient
    liar: LyingRpc
    stack: AsyncExitStack
    signature: Signature
    custody: Pubkey
    clock: Clock = field(default_factory=Clock)

    def client(self, url: str, timeout_secs: float = 10) -> ClusterClient:
        client = ClusterClient(url, timeout_secs, remembered=0)
        self.stack.push_async_callback(client.close)
        return client

    def witnesses(self, *urls: str, genesis: Hash | None = None) -> Witnesses:
        return Witnesses([self.client(url) for url in urls], genesis or self.cluster.genesis_hash, self.clock)

    async def said(self, witnesses: Witnesses, *, age_ms: int = 0, patience_secs: float = 5.0) -> Opinion:
        seen = await self.first.transaction(self.signature)
        assert seen is not None
        told = await witnesses.opinions({self.signature: Question(seen, age_ms)}, patience_secs)
        return told[self.signature]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(opened(tmp_path / "cluster"))
        servers = [SolanaServer(cluster, "127.0.0.1", 0) for _ in range(2)]
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        liar = await stack.enter_async_context(lying(servers[1].rpc_url))
        first = ClusterClient(servers[0].rpc_url)
        stack.push_async_callback(first.close)
        bench = Bench(cluster)
        await bench.fund()
        token = await TokenBench.made(bench)
        alice, bridge = keypair("alice"), keypair("bridge").pubkey()
        await bench.must([token.create(alice.pubkey()), token.create(bridge), token.mint_to(alice.pubkey(), 700)])
        await cluster.advance()
        moved = token.transfer(alice.pubkey(), bridge, 300)
        signature = (await bench.must([moved, memo("gwx1:x")], alice)).signature
        await cluster.advance(FINAL_SLOTS)
        yield Scene(cluster, first, liar, stack, signature, token.address(bridge))


async def test_two_endpoints_of_one_cluster_agree(scene: Scene) -> None:
    witnesses = scene.witnesses(scene.liar.url, scene.liar.behind)
    assert await scene.said(witnesses) is AGREED


async def test_what_was_agreed_upon_is_not_asked_again(scene: Scene) -> None:
    witnesses = scene.witnesses(scene.liar.url)
    assert await scene.said(witnesses) is AGREED
    asked = len(scene.liar.asked)
    assert await scene.said(witnesses) is AGREED
    assert len(scene.liar.asked) == asked


def _slot(told: Any) -> Any:
    return told | {"slot": told["slot"] + 1}


def _error(told: Any) -> Any:
    told["meta"]["err"] = {"InstructionError": [0, {"Custom": 1}]}
    return told


def _balance(told: Any) -> Any:
    amount = told["meta"]["postTokenBalances"][0]["uiTokenAmount"]
    amount["amount"] = str(int(amount["amount"]) + 1_000_000)
    return told


def _no_balances(told: Any) -> Any:
    return told | {"meta": told["meta"] | {"preTokenBalances": None, "postTokenBalances": None}}


def _inner(told: Any) -> Any:
    call = {"programIdIndex": 0, "accounts": [], "data": "1", "stackHeight": 2}
    return told | {"meta": told["meta"] | {"innerInstructions": [{"index": 0, "instructions": [call]}]}}


@pytest.mark.parametrize("lie", [_slot, _error, _balance, _no_balances, _inner])
async def test_a_witness_that_tells_otherwise_disputes(scene: Scene, lie: Callable[[Any], Any]) -> None:
    scene.liar.lies["getTransaction"] = lambda told: lie(deepcopy(told))
    witnesses = scene.witnesses(scene.liar.behind, scene.liar.url)
    said = await scene.said(witnesses)
    assert said.verdict is Verdict.DISPUTED
    assert said.text.startswith("witness 2 tells otherwise ")
    scene.liar.lies.clear()
    assert await scene.said(witnesses) is AGREED, "it is asked again, and tells the truth"


async def test_other_bytes_under_the_same_signature_dispute(scene: Scene) -> None:
    def lie(told: Any) -> Any:
        raw = bytearray(base64.b64decode(told["transaction"][0]))
        raw[-1] ^= 1  # the end of the memo
        return told | {"transaction": [base64.b64encode(bytes(raw)).decode(), "base64"]}

    scene.liar.lies["getTransaction"] = lie
    assert (await scene.said(scene.witnesses(scene.liar.url))).verdict is not Verdict.AGREED


async def test_a_witness_that_lags_is_waited_for(scene: Scene) -> None:
    scene.liar.lies["getTransaction"] = lambda _: None
    said = await scene.said(scene.witnesses(scene.liar.url), age_ms=10 * ENOUGH_MS)
    assert said == Opinion(Verdict.WAIT, "witness 1 is not that far")


async def test_a_witness_that_hides_it_is_waited_for_and_then_disputes(scene: Scene) -> None:
    await scene.cluster.advance(LAG_SLOTS)
    scene.liar.lies["getTransaction"] = lambda _: None
    witnesses = scene.witnesses(scene.liar.url)
    assert (await scene.said(witnesses, age_ms=YOUNG_MS)).verdict is Verdict.WAIT
    said = await scene.said(witnesses, age_ms=OLD_MS)
    assert said == Opinion(Verdict.DISPUTED, "witness 1 does not know the transaction")
    scene.liar.lies["getFirstAvailableBlock"] = lambda told: told + 10**6
    said = await scene.said(witnesses, age_ms=OLD_MS)
    assert said.verdict is Verdict.DISPUTED
    assert said.text.startswith("witness 1 forgot slot")


async def test_a_witness_of_another_cluster_disputes(scene: Scene) -> None:
    scene.liar.lies["getGenesisHash"] = lambda _: str(Hash.hash(b"another"))
    said = await scene.said(scene.witnesses(scene.liar.url))
    assert said == Opinion(Verdict.DISPUTED, "witness 1 is of another cluster")


async def test_a_witness_that_is_down_is_left_alone_for_longer_and_longer(scene: Scene) -> None:
    scene.liar.is_down = True
    witnesses = scene.witnesses(scene.liar.url)
    asked = []
    for _ in range(6):
        assert await scene.said(witnesses) == Opinion(Verdict.WAIT, "witness 1 does not answer")
        asked.append(len(scene.liar.asked))
        scene.clock.now_ms += 600
    assert asked == [1, 2, 2, 3, 3, 3]
    assert witnesses.silent == ["witness 1"]
    scene.liar.is_down = False
    scene.clock.now_ms += 10_000
    assert await scene.said(witnesses) is AGREED
    assert witnesses.silent == []


async def test_a_slow_witness_keeps_nobody_for_long(scene: Scene) -> None:
    scene.liar.delay_secs = 30
    said = await scene.said(scene.witnesses(scene.liar.url), patience_secs=0.05)
    assert said == Opinion(Verdict.WAIT, "witness 1 does not answer")
