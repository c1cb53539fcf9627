"""Two engines in two processes on one database admit exactly once between them (I2, I3), whatever comes to both
at the same moment: on one SQLite file, and on one MongoDB."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from certificates import successor
from config.errors import ErrorCode
from config.settings import Settings, StorageSettings
from lookup.audit import check_partitions
from lookup.hosted import hosted_lookup_services
from overlay.builder import coins_of
from overlay.invariants import check_invariants
from overlay.records import CONFLICTS, ENGINE_COLLECTIONS, OUTPUTS, SPENDS, TRANSACTIONS
from overlay.transaction import Transaction, outpoint
from store.open import open_store
from store.port import Store
from tests.overlay.kit import GC, SOLAR_DE, Chain, Clock
from tests.store.conftest import REAL_MONGODB, serving

CONTENDER = Path(__file__).with_name("contender.py")
ROOT = CONTENDER.parents[2]
RIVALS = 50
ADMITTED = {"outputsToAdmit": [0], "coinsToRetain": [], "coinsRemoved": []}
MOVED = {"outputsToAdmit": [0], "coinsToRetain": [0], "coinsRemoved": []}

Answers = list[Any]


class Contender:
    """One of the processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the contender ended: {self._process.wait(10)}"
        return line.strip()

    def submit(self, submissions: Sequence[tuple[bytes, Sequence[str]]]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([[beef.hex(), list(topics)] for beef, topics in submissions]) + "\n")
        self._process.stdin.flush()


@contextmanager
def contender(*arguments: object) -> Iterator[Contender]:
    command = [sys.executable, str(CONTENDER), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        try:
            yield Contender(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture(params=["sqlite", "secantus", *(["mongod"] if REAL_MONGODB else [])])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'node.db'}"
        return
    name = f"metawatt_test_{secrets.token_hex(6)}"
    server = request.getfixturevalue("mongodb_server") if request.param == "secantus" else str(REAL_MONGODB)
    yield f"{server.rstrip('/')}/{name}"
    with MongoClient(server) as client:
        client.drop_database(name)


@pytest.fixture(scope="module")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("secantus")) as server:
        yield server


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, Clock())
    await made.open()
    # Two payments in full, before anybody follows the chain.
    first, *_ = [await made.fund() for _ in range(RIVALS + 1)]
    made.add_funds(made.known[first.txid])
    yield made
    await made.close()


Race = Callable[[Sequence[tuple[Transaction, Sequence[str]]]], Answers]


@pytest.fixture
async def race(chain: Chain, uri: str, tmp_path: Path) -> AsyncIterator[Race]:
    """Submits to both processes at once, every other one to either; answers in the order of submission."""
    headers = tmp_path / "headers"
    known = await chain.dev.headers(0, chain.dev.tip.height + 1)
    headers.write_bytes(b"".join(header.raw for header in known))
    with ExitStack() as stack:
        pair = [stack.enter_context(contender(uri, headers, chain.issuer.public.hex())) for _ in range(2)]
        assert [each.hear() for each in pair] == ["open", "open"]

        def run(submissions: Sequence[tuple[Transaction, Sequence[str]]]) -> Answers:
            beefs = [(chain.beef(transaction), topics) for transaction, topics in submissions]
            for number, each in enumerate(pair):
                each.submit(beefs[number::2])
            answers: Answers = [None] * len(beefs)
            for number, each in enumerate(pair):
                answers[number::2] = json.loads(each.hear())
            return answers

        yield run


@pytest.fixture
async def store(uri: str, race: Race) -> AsyncIterator[Store]:
    """The database, beside the two; in the end it is sound."""
    opened = open_store(uri, Path(), StorageSettings())
    services = hosted_lookup_services(Settings())
    await opened.open([*ENGINE_COLLECTIONS, *(each for service in services for each in service.collections)])
    yield opened
    assert await check_invariants(opened) == []
    assert await check_partitions(opened) == []
    await opened.close()


async def receipts(store: Store, transaction: Transaction) -> dict[str, Any]:
    document = await store.get(TRANSACTIONS, transaction.txid)
    assert document is not None
    stored: dict[str, Any] = document["receipts"]
    return stored


async def test_identical_submissions_are_applied_once(race: Race, chain: Chain, store: Store) -> None:
    transaction, _ = await chain.issue()
    answers = race([(transaction, [GC, SOLAR_DE])] * RIVALS)
    assert answers == [{GC: ADMITTED, SOLAR_DE: ADMITTED}] * RIVALS
    assert await receipts(store, transaction) == answers[0]
    assert await store.count(OUTPUTS) == 1
    assert await store.count(SPENDS) == 1


async def test_of_conflicting_spends_one_is_admitted(race: Race, chain: Chain, store: Store) -> None:
    transaction, tokens = await chain.issue()
    assert race([(transaction, [GC])]) == [{GC: ADMITTED}]
    coin = coins_of(transaction)[0]
    rivals = [
        await chain.succeed([coin], [successor.transfer(tokens[0], chain.owner.public)]) for _ in range(RIVALS)
    ]
    answers = race([(rival, [GC]) for rival in rivals])
    (winner,) = [rival for rival, answer in zip(rivals, answers, strict=True) if answer == {GC: MOVED}]
    assert answers.count(ErrorCode.DOUBLE_SPEND) == RIVALS - 1
    assert await store.count(CONFLICTS) == RIVALS - 1
    assert await receipts(store, winner) == {GC: MOVED}
    spend = await store.get(SPENDS, outpoint(transaction.txid, 0))
    assert spend is not None
    assert spend["txid"] == winner.txid
    assert list(await store.get_many(TRANSACTIONS, [rival.txid for rival in rivals])) == [winner.txid]


async def test_parents_and_children_that_come_to_both_at_once(race: Race, chain: Chain, store: Store) -> None:
    submissions: list[tuple[Transaction, Sequence[str]]] = []
    children: list[Transaction] = []
    for _ in range(10):
        parent, tokens = await chain.issue()
        coin = coins_of(parent)[0]
        child = await chain.succeed([coin], [successor.transfer(tokens[0], chain.owner.public)])
        children.append(child)
        submissions += [(parent, [GC, SOLAR_DE]), (child, [GC])]
    answers = race(submissions)
    assert [answer[GC] for answer in answers] == [ADMITTED, MOVED] * 10
    for child in children:
        assert await receipts(store, child) == {GC: MOVED, SOLAR_DE: MOVED}
    assert await store.count(OUTPUTS) == 20


async def test_one_transaction_to_two_topics_at_once(race: Race, chain: Chain, store: Store) -> None:
    transactions = [(await chain.issue())[0] for _ in range(10)]
    answers = race([(each, [topic]) for each in transactions for topic in (GC, SOLAR_DE)])
    assert answers == [{topic: ADMITTED} for _ in transactions for topic in (GC, SOLAR_DE)]
    for each in transactions:
        assert await receipts(store, each) == {GC: ADMITTED, SOLAR_DE: ADMITTED}
    assert await store.count(OUTPUTS) == 10
