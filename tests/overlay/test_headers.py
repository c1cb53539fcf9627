"""The header chain over a service that grows, forks, moves under the reader's eyes, and lies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from config.errors import ErrorCode, Unavailable
from overlay.chain import Header
from overlay.headers import ChainChange, HeaderChain, check_work, parse_header
from overlay.records import ENGINE_COLLECTIONS, HEADERS
from overlay.sdk import hash256
from store.port import Find
from store.sqlite import SqliteStore

EASY = 0x207FFFFF
LIMIT = 10


def mine(height: int, previous: bytes, mark: int = 0, bits: int = EASY) -> Header:
    """A header that meets an easy target; each `mark` makes another one."""
    root = hash256(f"{height} {mark}".encode())
    for nonce in range(2**32):
        tail = (1_780_000_000 + height).to_bytes(4, "little") + bits.to_bytes(4, "little")
        header = parse_header(b"\x01\x00\x00\x00" + previous + root + tail + nonce.to_bytes(4, "little"), height)
        if int.from_bytes(header.hash, "little") < 0x7FFFFF << 8 * 29:
            return header
    raise AssertionError("the target is not easy")


class Service:
    """A headers service in memory. Whether it is honest is for the test to say."""

    def __init__(self, length: int = 0) -> None:
        self.headers: list[Header] = []
        self.asked: list[tuple[int, int]] = []
        self.before_range: Callable[[], None] | None = None
        self.claimed_tip: Header | None = None
        self.page = 2000
        self.grow(length)

    def grow(self, count: int, mark: int = 0) -> None:
        for _ in range(count):
            previous = self.headers[-1].hash if self.headers else bytes(32)
            self.headers.append(mine(len(self.headers), previous, mark))

    def fork(self, depth: int, grow: int, mark: int = 1) -> None:
        """Take the last `depth` blocks back, and put `grow` others in their place."""
        del self.headers[len(self.headers) - depth :]
        self.grow(grow, mark)

    async def tip(self) -> Header:
        return self.claimed_tip or self.headers[-1]

    async def range(self, start: int, count: int) -> list[Header]:
        self.asked.append((start, count))
        if self.before_range is not None:
            self.before_range()
        return self.headers[start : start + min(count, self.page)]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await made.open(ENGINE_COLLECTIONS)
    yield made
    await made.close()


async def chain_of(store: SqliteStore, service: Service, first_height: int | None = 0) -> HeaderChain:
    chain = HeaderChain(store, service, first_height=first_height, reorg_limit=LIMIT)
    await chain.open()
    return chain


async def kept(store: SqliteStore) -> dict[int, bytes]:
    page = await store.find(HEADERS, Find(limit=5000))
    return {document["_id"]: document["raw"] for document in page.documents}


async def assert_follows(chain: HeaderChain, service: Service, store: SqliteStore, first: int = 0) -> None:
    """The chain, in memory and kept, is the service's from `first` on."""
    theirs = {header.height: header for header in service.headers[first:]}
    assert chain.tip_height == max(theirs)
    assert chain.tip == service.headers[-1]
    assert await kept(store) == {height: header.raw for height, header in theirs.items()}
    for height in range(len(service.headers) + 5):
        expected = theirs.get(height)
        assert chain.root_at(height) == (expected.merkle_root if expected else None)
        assert chain.hash_at(height) == (expected.hash if expected else None)
        assert chain.header_at(height) == expected


# Following


async def test_before_anything_is_known(store: SqliteStore) -> None:
    chain = await chain_of(store, Service(1))
    assert (chain.tip, chain.tip_height, chain.root_at(0), chain.unsettled_fork) == (None, -1, None, None)


async def test_a_chain_is_followed_block_by_block(store: SqliteStore) -> None:
    service = Service(1)
    chain = await chain_of(store, service)
    changes = []
    for _ in range(4):
        changes.append(await chain.sync())
        service.grow(1)
    assert changes == [ChainChange(height - 1, height, False) for height in range(4)]
    assert chain.generation == 4


async def test_nothing_new_changes_nothing(store: SqliteStore) -> None:
    service = Service(3)
    chain = await chain_of(store, service)
    await chain.sync()
    service.asked.clear()
    assert await chain.sync() is None
    assert (service.asked, chain.generation) == ([], 1)


@pytest.mark.parametrize("length", [500, 501, 1_201])
async def test_long_chains_come_in_pages(store: SqliteStore, length: int) -> None:
    service = Service(length)
    chain = await chain_of(store, service)
    assert await chain.sync() == ChainChange(-1, length - 1, False)
    assert len(service.asked) == -(-length // 500)
    await assert_follows(chain, service, store)


async def test_a_service_may_give_less_than_is_asked_for(store: SqliteStore) -> None:
    service = Service(60)
    service.page = 7
    chain = await chain_of(store, service)
    assert await chain.sync() == ChainChange(-1, 59, False)
    await assert_follows(chain, service, store)


@pytest.mark.parametrize(("first_height", "expected"), [(None, 200), (1_150, 1_150), (0, 0)])
async def test_where_it_begins(store: SqliteStore, first_height: int | None, expected: int) -> None:
    service = Service(1_201)
    chain = await chain_of(store, service, first_height)
    await chain.sync()
    await assert_follows(chain, service, store, expected)


async def test_listeners_are_told_after_the_change(store: SqliteStore) -> None:
    service = Service(3)
    chain = await chain_of(store, service)
    seen: list[tuple[ChainChange, int]] = []

    async def note(change: ChainChange) -> None:
        seen.append((change, chain.tip_height))

    chain.on_change = note
    await chain.sync()
    service.fork(1, 2)
    await chain.sync()
    await chain.sync()
    assert seen == [(ChainChange(-1, 2, False), 2), (ChainChange(1, 3, True), 3)]


# Forks


@pytest.mark.parametrize("depth", [1, 2, 3, 7, LIMIT])
@pytest.mark.parametrize("more", [1, 0, -1, 600])
async def test_forks_are_followed(store: SqliteStore, depth: int, more: int) -> None:
    """Also to a chain as long or shorter: which one has most work is the service's word."""
    service = Service(30)
    chain = await chain_of(store, service)
    await chain.sync()
    service.fork(depth, depth + more)
    if more + depth == 0:
        assert await chain.sync() is None
        assert chain.tip_height == 29
        return
    assert await chain.sync() == ChainChange(29 - depth, 29 + more, True)
    assert chain.unsettled_fork == 29 - depth
    await assert_follows(chain, service, store)


async def test_a_service_that_lags_behind_takes_nothing_back(store: SqliteStore) -> None:
    service = Service(20)
    chain = await chain_of(store, service)
    await chain.sync()
    tip = chain.tip
    service.claimed_tip = service.headers[12]
    assert await chain.sync() is None
    assert (chain.tip, len(await kept(store))) == (tip, 20)


async def test_a_fork_deeper_than_the_limit_halts_and_changes_nothing(store: SqliteStore) -> None:
    service = Service(30)
    chain = await chain_of(store, service)
    await chain.sync()
    before, old = await kept(store), list(service.headers)
    service.fork(LIMIT + 1, LIMIT + 2)
    for _ in range(2):
        with pytest.raises(Unavailable) as refusal:
            await chain.sync()
        assert refusal.value.code is ErrorCode.REORG_TOO_DEEP
    assert chain.halted is not None
    assert (await kept(store), chain.tip, chain.generation) == (before, old[-1], 1)
    service.headers = old
    service.grow(1, mark=5)
    assert await chain.sync() == ChainChange(29, 30, False)
    assert chain.halted is None


async def test_another_chain_altogether_is_not_followed(store: SqliteStore) -> None:
    service = Service(30)
    chain = await chain_of(store, service)
    await chain.sync()
    service.fork(30, 40)
    with pytest.raises(Unavailable):
        await chain.sync()
    assert chain.tip_height == 29


async def test_what_a_fork_leaves_to_do_is_remembered_until_settled(store: SqliteStore) -> None:
    service = Service(30)
    chain = await chain_of(store, service)
    await chain.sync()
    for depth, lowest in ((2, 27), (5, 25), (1, 25)):
        service.fork(depth, depth + 1)
        await chain.sync()
        assert chain.unsettled_fork == lowest
        assert (await chain_of(store, service)).unsettled_fork == lowest
    await chain.settle()
    assert chain.unsettled_fork is None
    assert (await chain_of(store, service)).unsettled_fork is None


# A service that moves, or lies


async def test_a_service_that_moves_while_it_is_read_is_read_again(store: SqliteStore) -> None:
    service = Service(600)
    chain = await chain_of(store, service)

    def move() -> None:
        if len(service.asked) == 2:
            service.fork(150, 160)

    service.before_range = move
    assert await chain.sync() is None
    assert (chain.tip_height, await kept(store)) == (-1, {})
    assert await chain.sync() == ChainChange(-1, 609, False)
    await assert_follows(chain, service, store)


async def test_a_service_that_shrinks_while_it_is_read(store: SqliteStore) -> None:
    service = Service(600)
    chain = await chain_of(store, service)
    service.claimed_tip = service.headers[-1]
    del service.headers[550:]
    await chain.sync()
    service.claimed_tip = None
    await chain.sync()
    await assert_follows(chain, service, store)


def without_work(header: Header) -> Header:
    """The header with a target that it does not meet."""
    return parse_header(header.raw[:72] + (0x03000001).to_bytes(4, "little") + header.raw[76:], header.height)


def misnamed(header: Header) -> Header:
    """A header that is said to have another hash than it has."""
    return Header(header.height, bytes(32), header.previous, header.merkle_root, header.raw)


def unlinked(header: Header) -> Header:
    return mine(header.height, b"\x07" * 32)


@pytest.mark.parametrize("at", [20, 24])
@pytest.mark.parametrize("lie", [without_work, misnamed])
async def test_a_header_without_work_is_refused_and_changes_nothing(
    store: SqliteStore, lie: Callable[[Header], Header], at: int
) -> None:
    service = Service(20)
    chain = await chain_of(store, service)
    await chain.sync()
    before, tip = await kept(store), chain.tip
    service.grow(5)
    honest = service.headers[at]
    service.headers[at] = lie(honest)
    with pytest.raises(Unavailable, match="proof of work"):
        await chain.sync()
    assert (await kept(store), chain.tip, chain.generation) == (before, tip, 1)
    service.headers[at] = honest
    await chain.sync()
    await assert_follows(chain, service, store)


@pytest.mark.parametrize("at", [20, 22, 24])
async def test_a_header_without_link_is_refused_and_changes_nothing(store: SqliteStore, at: int) -> None:
    service = Service(20)
    chain = await chain_of(store, service)
    await chain.sync()
    before, tip = await kept(store), chain.tip
    service.grow(5)
    service.headers[at] = unlinked(service.headers[at])
    if at == 24:
        service.claimed_tip = service.headers[at]
    assert await chain.sync() is None
    assert (await kept(store), chain.tip, chain.generation) == (before, tip, 1)


async def test_heights_that_are_not_those_asked_for_change_nothing(store: SqliteStore) -> None:
    service = Service(20)
    chain = await chain_of(store, service)
    await chain.sync()
    tip = chain.tip
    service.grow(2)
    shifted = service.headers[20]
    service.headers[20] = parse_header(shifted.raw, 21)
    assert await chain.sync() is None
    assert chain.tip == tip


async def test_a_service_that_does_not_answer(store: SqliteStore) -> None:
    service = Service(3)
    chain = await chain_of(store, service)

    def fail() -> None:
        raise Unavailable("the headers service does not answer")

    service.before_range = fail
    with pytest.raises(Unavailable):
        await chain.sync()
    service.before_range = None
    await chain.sync()
    await assert_follows(chain, service, store)


@pytest.mark.parametrize(
    ("bits", "sound"),
    [
        (EASY, True),
        (0x1D00FFFF, False),
        (0x00000000, False),
        (0x01000001, False),
        (0x03000000, False),
        (0x20FFFFFF, True),
        (0xFF7FFFFF, True),
    ],
)
def test_targets(bits: int, sound: bool) -> None:
    """The top bit of the mantissa is a sign, and is left out."""
    header = mine(1, bytes(32), bits=bits)
    if sound:
        check_work(header)
        return
    with pytest.raises(Unavailable):
        check_work(header)


@pytest.mark.parametrize("size", [0, 79, 81])
def test_a_header_is_80_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="80 bytes"):
        parse_header(bytes(size), 1)


# Single heights


async def test_old_heights_are_fetched_when_needed(store: SqliteStore) -> None:
    service = Service(1_201)
    chain = await chain_of(store, service, 1_190)
    await chain.sync()
    service.asked.clear()
    await chain.ensure([5, 5, 1_195])
    assert chain.root_at(5) == service.headers[5].merkle_root
    assert chain.header_at(5) == service.headers[5]
    assert chain.hash_at(5) is None
    assert service.asked == [(5, 1)]
    await chain.ensure([5])
    assert service.asked == [(5, 1)]
    assert min(await kept(store)) == 1_190


async def test_a_new_height_makes_the_chain_catch_up(store: SqliteStore) -> None:
    service = Service(5)
    chain = await chain_of(store, service)
    await chain.sync()
    service.grow(2)
    await chain.ensure([6])
    assert chain.root_at(6) == service.headers[6].merkle_root


async def test_heights_that_nobody_knows_stay_unknown(store: SqliteStore) -> None:
    service = Service(5)
    chain = await chain_of(store, service)
    await chain.sync()
    await chain.ensure([5, 2**32, -1])
    assert [chain.root_at(height) for height in (5, 2**32, -1)] == [None] * 3


async def test_old_headers_are_held_to_their_work_and_height_too(store: SqliteStore) -> None:
    service = Service(40)
    chain = await chain_of(store, service, 30)
    await chain.sync()
    service.headers[4] = without_work(service.headers[4])
    with pytest.raises(Unavailable):
        await chain.ensure([4])
    service.headers[6] = parse_header(service.headers[6].raw, 7)
    with pytest.raises(Unavailable):
        await chain.ensure([6])
    assert [chain.root_at(height) for height in (4, 6, 7)] == [None] * 3


async def test_one_envelope_fetches_a_bounded_number_of_old_headers(store: SqliteStore) -> None:
    service = Service(200)
    chain = await chain_of(store, service, 190)
    await chain.sync()
    service.asked.clear()
    await chain.ensure(range(150))
    assert len(service.asked) <= 50


# Restarts and neighbours


async def test_a_restart_finds_what_was_kept(store: SqliteStore) -> None:
    service = Service(30)
    await (await chain_of(store, service)).sync()
    service.asked.clear()
    chain = await chain_of(store, service)
    await assert_follows(chain, service, store)
    assert await chain.sync() is None
    service.fork(3, 5)
    assert await chain.sync() == ChainChange(26, 31, True)
    await assert_follows(await chain_of(store, service), service, store)


async def test_two_chains_on_one_store(store: SqliteStore) -> None:
    service = Service(30)
    first, second = await chain_of(store, service), await chain_of(store, service)
    await first.sync()
    await second.sync()
    service.fork(4, 3)
    for chain in (first, second):
        assert await chain.sync() == ChainChange(25, 28, True)
        await assert_follows(chain, service, store)
    service.grow(5)
    await second.sync()
    await assert_follows(second, service, store)
    await first.sync()
    await assert_follows(first, service, store)
    assert await kept(store) == {header.height: header.raw for header in service.headers}


async def test_a_neighbour_that_lags_behind_does_not_undo(store: SqliteStore) -> None:
    """One node is at the new chain's tip when another one first hears of the fork."""
    service, late = Service(30), Service()
    late.headers = list(service.headers)
    first, second = await chain_of(store, service), await chain_of(store, late)
    await first.sync()
    await second.sync()
    service.grow(3)
    await first.sync()
    late.headers = service.headers[:31]
    await second.sync()
    assert second.tip_height == 30
    assert await kept(store) == {header.height: header.raw for header in service.headers}
