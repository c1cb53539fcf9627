"""The engine's submission path on a real chain: admission, repeats, conflicts, order, failure (I2, I3, I7)."""

from __future__ import annotations

import asyncio

import pytest

from certificates import successor
from config.errors import BadRequest, ErrorCode, NotFound
from overlay.admission import AlongsideConflict
from overlay.builder import coins_of
from overlay.envelope import parse_envelope
from overlay.records import CONFLICTS, OUTPUTS, RAWS, SPENDS, STATE, TRANSACTIONS
from overlay.steak import Steak, TopicResult
from overlay.topic import Admission, Metadata, Submission
from overlay.transaction import outpoint
from store.port import Find, Insert, Write
from tests.overlay.kit import GC, SOLAR_DE, Chain, Node


async def test_an_issuance_is_admitted_to_the_topics_named(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue((1000, 500))
    steak = await node.submit(transaction, GC, SOLAR_DE, "tm_metawatt_gc_wind")
    assert steak[GC] == steak[SOLAR_DE] == TopicResult((0, 1))
    assert steak["tm_metawatt_gc_wind"] == TopicResult()
    assert await node.live() == {(transaction.txid, 0), (transaction.txid, 1)}
    assert await node.live(topics=[SOLAR_DE]) == await node.live()
    assert await node.live(topics=["tm_metawatt_gc_wind"]) == set()


async def test_a_repeat_is_answered_with_the_first_steak(node: Node, chain: Chain) -> None:
    transaction, tokens = await chain.issue()
    await node.submit(transaction)
    move = await chain.succeed(coins_of(transaction)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    first = await node.submit(move)
    assert first == {GC: TopicResult((0,), (0,))}
    assert await node.submit(move) == first
    assert await node.submit(transaction) == {GC: TopicResult((0,))}
    assert node.engine.measures.submissions[GC, "repeated"] == 2


async def test_writes_alongside_join_the_commit_of_the_admission(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()
    told: list[Steak] = []

    def alongside(steak: Steak) -> list[Write]:
        told.append(steak)
        return [Insert(STATE, {"_id": "beside"})]

    await node.submit(transaction, alongside=alongside)
    assert told == [{GC: TopicResult((0,))}]
    assert await node.store.get(STATE, "beside") is not None
    await node.submit(transaction, alongside=alongside)
    assert len(told) == 1, "a repeat is answered from the receipt"


async def test_a_conflict_alongside_refuses_the_admission(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()
    await node.store.commit([Insert(STATE, {"_id": "beside"})])
    with pytest.raises(AlongsideConflict):
        await node.submit(transaction, alongside=lambda _: [Insert(STATE, {"_id": "beside"})])
    assert await node.live() == set()
    await node.submit(transaction)


async def test_a_refusal_alongside_changes_nothing(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()

    def refuse(_: Steak) -> list[Write]:
        raise BadRequest("not so")

    with pytest.raises(BadRequest, match="not so"):
        await node.submit(transaction, alongside=refuse)
    assert await node.live() == set()


async def test_fifty_identical_submissions_at_once_are_applied_once(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()
    steaks = await asyncio.gather(*[node.submit(transaction) for _ in range(50)])
    assert steaks == [{GC: TopicResult((0,))}] * 50
    assert await node.store.count(OUTPUTS) == 1
    assert node.engine.measures.submissions == {(GC, "admitted"): 1, (GC, "repeated"): 49}


async def test_of_fifty_conflicting_spends_one_is_admitted_and_the_others_are_recorded(
    node: Node, chain: Chain
) -> None:
    transaction, tokens = await chain.issue()
    await node.submit(transaction)
    coin = coins_of(transaction)[0]
    rivals = [await chain.succeed([coin], [successor.transfer(tokens[0], chain.owner.public)]) for _ in range(50)]
    answers = await asyncio.gather(*[node.submit(rival) for rival in rivals], return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, BadRequest)]
    assert len(refused) == 49
    assert {error.code for error in refused} == {ErrorCode.DOUBLE_SPEND}
    assert await node.store.count(CONFLICTS) == 49
    (winner,) = [rival for rival, answer in zip(rivals, answers, strict=True) if isinstance(answer, dict)]
    assert await node.live() == {(winner.txid, 0)}


async def test_a_topic_that_was_not_named_gives_up_a_coin_that_is_spent(node: Node, chain: Chain) -> None:
    transaction, tokens = await chain.issue()
    await node.submit(transaction, GC, SOLAR_DE)
    move = await chain.succeed(coins_of(transaction)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    steak = await node.submit(move, GC)
    assert steak == {GC: TopicResult((0,), (0,)), SOLAR_DE: TopicResult((0,), (0,))}
    assert await node.live(topics=[SOLAR_DE]) == {(move.txid, 0)}


async def test_a_spend_that_loses_a_certificate_removes_its_coin(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()
    await node.submit(transaction)
    burn = await chain.succeed(coins_of(transaction)[:1], [])
    assert await node.submit(burn) == {GC: TopicResult((), (), (0,))}
    assert await node.live() == set()


async def test_parents_that_come_along_are_admitted_first(node: Node, chain: Chain) -> None:
    transaction, tokens = await chain.issue()
    move = await chain.succeed(coins_of(transaction)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    assert await node.submit(move) == {GC: TopicResult((0,), (0,))}
    assert await node.submit(transaction) == {GC: TopicResult((0,))}
    assert await node.live() == {(move.txid, 0)}


async def test_a_child_whose_parent_is_not_admissible_alone_waits_for_its_grandparent(
    node: Node, chain: Chain
) -> None:
    transaction, tokens = await chain.issue()
    await chain.mine(transaction)
    moved = successor.transfer(tokens[0], chain.owner.public)
    middle = await chain.succeed(coins_of(transaction)[:1], [moved])
    await chain.mine(middle)
    last = await chain.succeed(coins_of(middle)[:1], [successor.transfer(moved, chain.owner.public)])
    assert await node.submit(last) == {GC: TopicResult()}
    assert node.engine.waiting.occupied == 2  # `middle`, which came along, waits as well
    await node.submit(transaction)
    for _ in range(3):
        await node.engine.tend()
    assert await node.live() == {(last.txid, 0)}
    assert node.engine.waiting.occupied == 0


async def test_the_spender_of_two_coins_is_judged_again_when_the_second_comes(node: Node, chain: Chain) -> None:
    one, tokens_one = await chain.issue((400,))
    two, tokens_two = await chain.issue((600,), device_id="1d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f")
    await chain.mine(one, two)
    both = await chain.succeed(
        [coins_of(one)[0], coins_of(two)[0]],
        [successor.transfer(token, chain.owner.public) for token in (tokens_one[0], tokens_two[0])],
    )
    await node.submit(one)
    # Without `two` in the envelope's own ancestry beyond its proof, only the first coin is known.
    envelope = parse_envelope(chain.beef(both))
    assert two.txid in envelope.members
    steak = await node.submit(both)
    assert steak == {GC: TopicResult((0, 1), (0, 1))}
    assert await node.live() == {(both.txid, 0), (both.txid, 1)}


async def test_a_topic_that_raises_has_failed_and_the_others_go_on(node: Node, chain: Chain) -> None:
    class Broken:
        name = "tm_broken"
        metadata = Metadata("tm_broken", "Always fails.")
        documentation = ""
        healed = False

        async def judge(self, submission: Submission) -> Admission:
            if self.healed:
                return Admission((0,))
            raise ZeroDivisionError("no good")

    broken = Broken()
    node.engine.topic_managers["tm_broken"] = broken  # type: ignore[index]
    transaction, _ = await chain.issue()
    steak = await node.submit(transaction, GC, "tm_broken")
    assert steak[GC].outputs_to_admit == (0,)
    assert steak["tm_broken"].failed == "ZeroDivisionError: no good"
    assert "error" in steak["tm_broken"].to_wire()
    broken.healed = True
    assert (await node.submit(transaction, GC, "tm_broken"))["tm_broken"] == TopicResult((0,))


@pytest.mark.parametrize("topics", [["tm_nowhere"], [GC, "tm_nowhere"]])
async def test_an_unknown_topic_refuses_the_whole_submission(node: Node, chain: Chain, topics: list[str]) -> None:
    transaction, _ = await chain.issue()
    with pytest.raises(BadRequest, match="This server does not support this topic: tm_nowhere") as caught:
        await node.submit(transaction, *topics)
    assert caught.value.code is ErrorCode.TOPIC_UNKNOWN
    assert await node.store.count(TRANSACTIONS) == 0


async def test_what_is_not_relevant_leaves_nothing_behind(node: Node, chain: Chain) -> None:
    plain = chain.spend([await chain.fund()], [])
    assert await node.submit(plain) == {GC: TopicResult()}
    for collection in (TRANSACTIONS, RAWS, OUTPUTS, SPENDS):
        assert await node.store.count(collection) == 0


async def test_a_mined_rival_takes_the_place_of_an_unproven_spend(node: Node, chain: Chain) -> None:
    transaction, tokens = await chain.issue()
    await chain.mine(transaction)
    await node.submit(transaction)
    coin = coins_of(transaction)[0]
    early = await chain.succeed([coin], [successor.transfer(tokens[0], chain.owner.public)])
    late = await chain.succeed([coin], [successor.cancel(tokens[0], "Somebody", chain.owner.public)])
    await node.submit(early)
    child = await chain.succeed(coins_of(early)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    await node.submit(child)
    await chain.mine(late)
    assert await node.submit(late) == {GC: TopicResult((0,), (0,))}
    assert await node.live() == {(late.txid, 0)}
    spend = await node.store.get(SPENDS, outpoint(transaction.txid, 0))
    assert spend is not None
    assert spend["txid"] == late.txid
    assert await node.store.get(TRANSACTIONS, child.txid) is None


async def test_a_fault_of_a_lookup_service_is_mended_by_a_reindex(node: Node, chain: Chain) -> None:
    service = node.engine.lookup_services["ls_metawatt"]
    recorder = service.writes_for

    async def fails(*_: object) -> list[object]:
        raise RuntimeError("index fault")

    service.writes_for = fails  # type: ignore[method-assign, assignment]
    transaction, _ = await chain.issue()
    assert (await node.submit(transaction))[GC].outputs_to_admit == (0,)
    assert await node.live() == set()
    service.writes_for = recorder  # type: ignore[method-assign]
    await node.engine.mend()
    assert await node.live() == {(transaction.txid, 0)}


async def test_reindex_rebuilds_what_the_events_had_built(node: Node, chain: Chain) -> None:
    transaction, tokens = await chain.issue((700, 300))
    await node.submit(transaction, GC, SOLAR_DE)
    part = coins_of(transaction)[0]
    move = await chain.succeed([part], successor.split(tokens[0], [200, 500], [chain.owner.public] * 2))
    await node.submit(move)
    gone = await chain.succeed(coins_of(move)[:1], [])
    await node.submit(gone)
    collections = node.engine.lookup_services["ls_metawatt"].collections
    before = [(await node.store.find(each, Find(limit=1000))).documents for each in collections]
    seen: list[tuple[int, int]] = []
    assert await node.engine.reindex("ls_metawatt", lambda done, total: seen.append((done, total))) == 4
    assert seen[-1] == (4, 4)
    assert [(await node.store.find(each, Find(limit=1000))).documents for each in collections] == before


async def test_an_unknown_service_is_not_found(node: Node) -> None:
    with pytest.raises(NotFound) as caught:
        await node.engine.lookup("ls_nowhere", {})
    assert caught.value.code is ErrorCode.LOOKUP_SERVICE_UNKNOWN
