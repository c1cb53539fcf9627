"""Answers with proofs: complete, once each, with the newest paths, and readable by everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from config.errors import BadRequest, ErrorCode
from overlay.envelope import parse_envelope
from overlay.hydrate import OutputList, hydrate, load_kept, load_members
from overlay.lookup_service import Formula, Found
from overlay.records import ENGINE_COLLECTIONS, OUTPUTS, RAWS, TRANSACTIONS
from overlay.sdk import load_sdk
from overlay.transaction import Transaction, outpoint
from overlay.verify import VerifyLimits, prepare, run
from store.port import Delete, Put, Write
from store.sqlite import SqliteStore
from tests.overlay.envelopes import Blocks, funding, pay, pay_from

MIB = 1 << 20


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await made.open(ENGINE_COLLECTIONS)
    yield made
    await made.close()


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


async def keep(store: SqliteStore, *transactions: Transaction, bump: bytes | None = None) -> None:
    """Store transactions, and all their outputs as admitted."""
    writes: list[Write] = []
    for one in transactions:
        document = {"_id": one.txid, "size": len(one.raw)}
        writes.append(Put(TRANSACTIONS, document | ({"bump": bump} if bump is not None else {})))
        writes.append(Put(RAWS, {"_id": one.txid, "raw": one.raw}))
        writes += [Put(OUTPUTS, {"_id": outpoint(one.txid, n), "seq": n}) for n in range(len(one.outputs))]
    await store.commit(writes)


async def ask(store: SqliteStore, *found: Found, most_history: int = 10, most_bytes: int = MIB) -> OutputList:
    return await hydrate(store, Formula(found), most_history, most_bytes)


def read(data: bytes, blocks: Blocks) -> list[Transaction]:
    """The subject and its ancestry, verified; the subject is last."""
    envelope = parse_envelope(data)
    for job in prepare(envelope, blocks, VerifyLimits()):
        run(job)
    return [member.transaction for member in envelope.ancestry()]


def members(data: bytes) -> list[bytes]:
    return [member.transaction.txid for member in parse_envelope(data).members.values()]


def txids(transactions: Iterable[Transaction]) -> list[bytes]:
    return [transaction.txid for transaction in transactions]


async def test_a_mined_transaction_comes_alone(store: SqliteStore, blocks: Blocks) -> None:
    funds = funding()
    [(_, bump)] = blocks.mine(funds)
    await keep(store, funds, bump=bump)
    answer = await ask(store, Found(funds.txid, 0))
    assert read(answer.beef(answer.outputs[0]), blocks) == [funds]


async def test_an_unproven_one_comes_with_its_ancestry_down_to_mined_ones(
    store: SqliteStore, blocks: Blocks
) -> None:
    funds = funding()
    [(_, bump)] = blocks.mine(funds)
    child = pay(funds, 9_000)
    grandchild = pay(child, 8_000)
    await keep(store, funds, bump=bump)
    await keep(store, child, grandchild)
    answer = await ask(store, Found(grandchild.txid, 0))
    data = answer.beef(answer.outputs[0])
    assert read(data, blocks) == [funds, child, grandchild]
    assert members(data) == txids([funds, child, grandchild])


async def test_both_versions_are_read_by_the_sdk_too(store: SqliteStore, blocks: Blocks) -> None:
    funds = funding()
    [(_, bump)] = blocks.mine(funds)
    child = pay(funds, 9_000)
    await keep(store, funds, bump=bump)
    await keep(store, child)
    answer = await ask(store, Found(child.txid, 0))
    sdk = load_sdk()
    one = sdk.Transaction.from_beef(answer.beef(answer.outputs[0]))
    assert one.txid() == child.txid_hex
    assert one.inputs[0].source_transaction.merkle_path.compute_root() == blocks.roots[10][::-1].hex()
    whole = load_sdk("bsv.transaction.beef").new_beef_from_bytes(b"".join(answer.aggregated()))
    assert set(whole.txs) == {funds.txid_hex, child.txid_hex}
    assert whole.is_valid()


async def test_an_aggregated_answer_holds_everything_once(store: SqliteStore, blocks: Blocks) -> None:
    funds = funding([5_000] * 4)
    [(_, bump)] = blocks.mine(funds)
    children = [pay(funds, 4_000, spends=[index]) for index in range(4)]
    joined = pay_from([(child, 0) for child in children], 16_000)
    await keep(store, funds, bump=bump)
    await keep(store, *children, joined)
    answer = await ask(store, Found(joined.txid, 0), *(Found(child.txid, 0) for child in children))
    data = b"".join(answer.aggregated())
    assert data[:4] == b"\x02\x00\xbe\xef"
    assert sorted(members(data)) == sorted(txids([funds, *children, joined]))
    assert data.count(bump or b"") == 1
    order = members(data)
    assert order.index(funds.txid) < min(order.index(child.txid) for child in children)
    assert order.index(joined.txid) > max(order.index(child.txid) for child in children)


async def test_one_path_for_transactions_with_the_same_path(store: SqliteStore) -> None:
    """Two outputs of one transaction are two outputs, and one member."""
    blocks = Blocks()
    funds = funding([1, 2])
    [(_, bump)] = blocks.mine(funds)
    await keep(store, funds, bump=bump)
    answer = await ask(store, Found(funds.txid, 0), Found(funds.txid, 1))
    assert [found.output_index for found in answer.outputs] == [0, 1]
    assert members(b"".join(answer.aggregated())) == [funds.txid]


async def test_an_empty_answer_is_an_empty_beef(store: SqliteStore) -> None:
    answer = await ask(store)
    assert b"".join(answer.aggregated()) == b"\x02\x00\xbe\xef\x00\x00"


async def test_the_newest_proof_is_used(store: SqliteStore, blocks: Blocks) -> None:
    funds = funding()
    [(_, old)] = blocks.mine(funds, height=10)
    child = pay(funds, 9_000)
    await keep(store, funds, bump=old)
    await keep(store, child)
    for height in (20, 21):
        [(_, bump)] = blocks.mine(funds, height=height, others=height)
        await keep(store, funds, bump=bump)
        data = (answer := await ask(store, Found(child.txid, 0))).beef(answer.outputs[0])
        proof = parse_envelope(data).members[funds.txid].bump
        assert proof is not None
        assert proof.height == height
    [(_, own)] = blocks.mine(child, height=22)
    await keep(store, child, bump=own)
    answer = await ask(store, Found(child.txid, 0))
    assert read(answer.beef(answer.outputs[0]), blocks) == [child]


async def test_what_is_not_stored_is_left_out(store: SqliteStore, blocks: Blocks) -> None:
    funds = funding()
    [(_, bump)] = blocks.mine(funds)
    await keep(store, funds, bump=bump)
    gone = pay(funds, 9_000)
    orphan = pay(gone, 8_000)
    await keep(store, orphan)
    answer = await ask(store, Found(gone.txid, 0), Found(orphan.txid, 0), Found(funds.txid, 0))
    assert [found.txid for found in answer.outputs] == [funds.txid]
    assert members(b"".join(answer.aggregated())) == [funds.txid]
    await store.commit([Delete(TRANSACTIONS, funds.txid), Delete(RAWS, funds.txid)])
    assert (await ask(store, Found(funds.txid, 0))).outputs == []


async def test_order_context_and_cursor_are_the_service_s(store: SqliteStore) -> None:
    funds = [funding(mark=mark) for mark in range(5)]
    for one in funds:
        [(_, bump)] = Blocks().mine(one)
        await keep(store, one, bump=bump)
    found = [Found(one.txid, 0, context=bytes((n,))) for n, one in enumerate(funds)]
    answer = await hydrate(store, Formula(found[::-1], "next"), 10, MIB)
    assert [(output.txid, output.context) for output in answer.outputs] == [
        (one.txid, one.context) for one in found[::-1]
    ]
    assert answer.cursor == "next"


@pytest.mark.parametrize(
    ("history", "most", "expected"), [(0, 10, 0), (1, 10, 1), (3, 10, 3), (9, 10, 5), (9, 2, 2)]
)
async def test_history_goes_as_deep_as_asked_and_allowed(
    store: SqliteStore, blocks: Blocks, history: int, most: int, expected: int
) -> None:
    """A chain of mined transactions: history is what crosses the proofs."""
    line = [funding()]
    for step in range(5):
        line.append(pay(line[-1], 9_000 - step))
    for height, one in enumerate(line):
        [(_, bump)] = blocks.mine(one, height=height)
        await keep(store, one, bump=bump)
    answer = await ask(store, Found(line[-1].txid, 0, history=history), most_history=most)
    data = answer.beef(answer.outputs[0])
    assert members(data) == txids(line[5 - expected :])
    assert members(b"".join(answer.aggregated())) == txids(line[5 - expected :])


async def test_history_follows_admitted_outputs_only(store: SqliteStore, blocks: Blocks) -> None:
    funds, other = funding(), funding(mark=2)
    child = pay_from([(funds, 0), (other, 0)], 1)
    for height, one in enumerate((funds, other, child)):
        [(_, bump)] = blocks.mine(one, height=height)
        await keep(store, one, bump=bump)
    await store.commit([Delete(OUTPUTS, outpoint(other.txid, 0))])
    answer = await ask(store, Found(child.txid, 0, history=5))
    assert answer.outputs[0].history == (funds.txid,)


async def test_history_of_one_output_is_not_another_s(store: SqliteStore, blocks: Blocks) -> None:
    first, second = funding(mark=1), funding(mark=2)
    children = [pay(first, 1), pay(second, 1)]
    for height, one in enumerate((first, second, *children)):
        [(_, bump)] = blocks.mine(one, height=height)
        await keep(store, one, bump=bump)
    answer = await ask(store, Found(children[0].txid, 0, history=1), Found(children[1].txid, 0))
    assert members(answer.beef(answer.outputs[0])) == txids([first, children[0]])
    assert members(answer.beef(answer.outputs[1])) == txids([children[1]])


async def test_an_answer_is_bounded_in_bytes(store: SqliteStore) -> None:
    funds = [funding([1], mark=mark, lock=bytes(1_000)) for mark in range(4)]
    for one in funds:
        [(_, bump)] = Blocks().mine(one)
        await keep(store, one, bump=bump)
    size = sum(len(one.raw) for one in funds)
    found = [Found(one.txid, 0) for one in funds]
    assert len((await ask(store, *found, most_bytes=MIB)).outputs) == 4
    with pytest.raises(BadRequest) as refusal:
        await ask(store, *found, most_bytes=size - 1)
    assert refusal.value.code is ErrorCode.RESPONSE_TOO_LARGE


async def test_proofs_count_towards_the_bound_too(store: SqliteStore, blocks: Blocks) -> None:
    mined = blocks.mine(*[funding(mark=mark) for mark in range(50)])
    for one, bump in mined:
        await keep(store, one, bump=bump)
    answer = await ask(store, *(Found(one.txid, 0) for one, _ in mined))
    size = len(b"".join(answer.aggregated()))
    with pytest.raises(BadRequest):
        await ask(store, *(Found(one.txid, 0) for one, _ in mined), most_bytes=size * 3 // 4)


async def test_long_unproven_chains_do_not_recurse(store: SqliteStore, blocks: Blocks) -> None:
    line = [funding()]
    [(_, bump)] = blocks.mine(line[0])
    await keep(store, line[0], bump=bump)
    for step in range(1_100):
        line.append(pay(line[-1], 9_000 - step))
    await keep(store, *line[1:])
    answer = await ask(store, Found(line[-1].txid, 0), most_bytes=MIB)
    assert members(answer.beef(answer.outputs[0])) == txids(line)


async def test_parents_for_a_submission_that_left_them_out(store: SqliteStore, blocks: Blocks) -> None:
    funds = funding()
    [(_, bump)] = blocks.mine(funds)
    child = pay(funds, 9_000)
    await keep(store, funds, bump=bump)
    await keep(store, child)
    loaded = {member.transaction.txid: member for member in await load_members(store, [child.txid, bytes(32)])}
    assert loaded.keys() == {child.txid}, "what it stands on was verified when it came"
    assert (loaded[child.txid].bump, loaded[child.txid].is_kept) == (None, True)
    [mined] = await load_members(store, [funds.txid])
    proof = mined.bump
    assert proof is not None
    assert proof.root_for(funds.txid) == blocks.roots[10]
    assert (await load_kept(store, [])) == {}
