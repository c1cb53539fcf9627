"""kill -9 under load, again and again: nothing that was acknowledged is lost, nothing is applied twice (I1, I2).

    python -m bench.kill_loop [--kills 300] [--seed N] [--data-dir DIR]

A node on the dev network takes issuances and transfers over several connections until it is killed, sometimes
while it starts. The next life, on the same data and the same port, must answer every acknowledged submission
with its first STEAK, byte for byte; what was not acknowledged is submitted once more. In the end everything is
live exactly once, broadcast, mined and proven. `tests/durability` runs a short loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from bench.bundles import Fleet
from bench.corpus import ISSUER
from certificates import successor
from certificates.bundle import Bundle
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, Token, encode_fields, issuance_id_for
from config.settings import Settings
from lookup.audit import check_partitions
from lookup.hosted import hosted_lookup_services
from overlay.builder import Coin, P2pkhSigner, PushDropSigner, TransactionBuilder, coins_of, p2pkh_lock
from overlay.envelope import parse_envelope
from overlay.invariants import check_invariants
from overlay.keys import PrivateKey
from overlay.merkle import Bump
from overlay.pushdrop import lock
from overlay.records import ENGINE_COLLECTIONS, OUTBOX, OUTPUTS, SPENDS, TRANSACTIONS
from overlay.transaction import Transaction, outpoint
from overlay.wire import write_beef
from store.port import Find
from store.sqlite import SqliteStore

TOPIC = "tm_metawatt_gc"
OWNER = PrivateKey.from_int(7001)
OWNER_LOCK = p2pkh_lock(OWNER.public)
CONNECTIONS = 8
START_SECS = 30
REST_SECS = 100
"""Longest time until all promised work is done: what a dead process had begun is leased for a minute."""
_COIN_SATOSHIS = 2_000
_COINS_AT_ONCE = 500


class Broken(Exception):
    """An invariant does not hold."""


def demand(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


# The process


@dataclass
class NodeProcess:
    """A node on a folder and a port, one life after the other."""

    folder: Path
    port: int
    lives: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Start a life; nobody else may be on its port."""
        demand(not is_listening(self.port), "somebody else has the port")
        self.lives += 1
        command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--port", str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(self.folder / "data")], stderr=log, env=self._environment()
            )

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("METAWATT_")}
        return inherited | {
            "METAWATT_NODE__NETWORK": "dev",
            "METAWATT_LOG__FORMAT": "json",
            "METAWATT_CHAIN__POLL_SECS": "1",
            "METAWATT_ENGINE__PROOF_POLL_SECS": "2",
            "METAWATT_TOPICS__ISSUERS": json.dumps([{"identity_key": ISSUER.public.hex(), "name": "bench"}]),
        }

    @property
    def _log(self) -> Path:
        return self.folder / f"life{self.lives}.log"

    async def ready(self) -> None:
        """Wait until it says so, and see that it is this process that has the port."""
        assert self._process is not None
        deadline = monotonic() + START_SECS
        while not any(line.get("event") == "ready" for line in self._said()):
            demand(self._process.poll() is None, f"the node ended: {self._log.read_text()}")
            demand(monotonic() < deadline, f"the node did not start: {self._log.read_text()}")
            await asyncio.sleep(0.02)
        demand(listens(self._process.pid, self.port), "the port is not this node's")

    def _said(self) -> Iterator[dict[str, Any]]:
        for line in self._log.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                yield json.loads(line)

    def kill(self) -> None:
        """kill -9, and see that it is gone."""
        assert self._process is not None
        self._process.kill()
        ended = self._process.wait(10)
        self._process = None
        demand(ended == -signal.SIGKILL, f"the node had ended by itself: {ended}\n{self._log.read_text()}")
        demand(not is_listening(self.port), "somebody still listens on the port")

    def end(self) -> None:
        """Whatever happened, leave no process behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listens(pid: int, port: int) -> bool:
    """Whether the socket that listens on the port is that process's (Linux)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    own = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    return any(f"socket:[{inode}]" in own for inode in inodes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def node_process(folder: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(folder, free_port())
    try:
        yield process
    finally:
        process.end()


# The customers


@dataclass(frozen=True)
class Certificate:
    """A certificate of ours, the transaction that made it, and the payment that this stands on."""

    transaction: Transaction
    token: Token
    payment: tuple[Transaction, bytes]

    @property
    def beef(self) -> bytes:
        return write_beef([self.payment, (self.transaction, None)])


@dataclass(frozen=True)
class Submission:
    """A submission; `certificate` is what it makes, `of` what it spends."""

    beef: bytes
    certificate: Certificate
    of: Certificate | None = None

    @property
    def txid(self) -> bytes:
        return self.certificate.transaction.txid


@dataclass
class Ledger:
    """What was submitted, and the STEAKs that acknowledged it."""

    acknowledged: dict[bytes, tuple[Submission, bytes]] = field(default_factory=dict)
    doubtful: list[Submission] = field(default_factory=list)

    def note(self, submission: Submission, steak: bytes) -> None:
        first = self.acknowledged.setdefault(submission.txid, (submission, steak))[1]
        demand(steak == first, f"{submission.txid[::-1].hex()} was answered {steak!r}, and first {first!r}")

    @property
    def live(self) -> set[str]:
        """Outpoints that must be live, `<txid>.<index>`."""
        made = {submission.txid for submission, _ in self.acknowledged.values()}
        spent = {s.of.transaction.txid for s, _ in self.acknowledged.values() if s.of is not None}
        return {f"{txid[::-1].hex()}.0" for txid in made - spent}


class Customers:
    """They issue and transfer certificates over several connections until the node is gone."""

    def __init__(self, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self.ledger = Ledger()
        self._session = session
        self._chance = chance
        self._fleet = Fleet(chance.getrandbits(32))
        self._numbers = count()
        self._coins: list[tuple[Coin, tuple[Transaction, bytes]]] = []

    async def take_coins(self) -> None:
        """Have coins enough for one life."""
        if len(self._coins) >= _COINS_AT_ONCE:
            return
        asked = {"lockingScript": OWNER_LOCK.hex(), "satoshis": _COIN_SATOSHIS, "count": _COINS_AT_ONCE}
        async with self._session.post("/dev/faucet", json=asked) as response:
            paid = await response.json()
        envelope = parse_envelope(bytes.fromhex(paid["beef"]))
        bump = envelope.subject_bump
        assert isinstance(bump, Bump)
        coins = coins_of(envelope.subject)
        self._coins += [(coins[index], (envelope.subject, bump.raw)) for index in paid["vouts"]]

    async def load(self) -> None:
        """Until the node does not answer any more."""
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))

    async def _connection(self) -> None:
        while self._coins:
            issued = self._issue()
            if not await self._try(issued):
                return
            if self._chance.random() < 0.5 and not await self._try(self._transfer(issued.certificate)):
                return
            if self._chance.random() < 0.1 and not await self._try(issued):
                return

    async def _try(self, submission: Submission) -> bool:
        try:
            await self.submit(submission)
        except aiohttp.ClientError:
            self.ledger.doubtful.append(submission)
            return False
        return True

    async def submit(self, submission: Submission) -> None:
        headers = {"x-topics": json.dumps([TOPIC]), "content-type": "application/octet-stream"}
        async with self._session.post("/submit", data=submission.beef, headers=headers) as response:
            answer = await response.read()
        demand(response.status == 200, f"{response.status} {answer!r}")
        self.ledger.note(submission, answer)

    def _issue(self) -> Submission:
        coin, payment = self._coins.pop()
        spent = outpoint(coin.txid, coin.index)
        bundle = Bundle(self._fleet.bundle(next(self._numbers), issuance_id_for(spent, 0)))
        draft = Token(OWNER.public, bundle, Range(1, bundle.quantity), ISSUER.public)
        signer = ISSUER.derive(ISSUANCE_PROTOCOL, bundle.issuance_id, "anyone")
        token = draft.with_signature(signer.sign(sha256(draft.signed_text).digest()))
        builder = (
            TransactionBuilder().spend(coin, P2pkhSigner(OWNER)).pay(1, lock(OWNER.public, encode_fields(token)))
        )
        certificate = Certificate(builder.change_to(OWNER_LOCK).build(), token, payment)
        return Submission(certificate.beef, certificate)

    def _transfer(self, certificate: Certificate) -> Submission:
        coin, change = coins_of(certificate.transaction)
        token = successor.transfer(certificate.token, OWNER.public)
        builder = TransactionBuilder().spend(coin, PushDropSigner(OWNER)).spend(change, P2pkhSigner(OWNER))
        builder.pay(1, lock(OWNER.public, encode_fields(token)))
        transaction = builder.change_to(OWNER_LOCK).build()
        parent = certificate.transaction
        beef = write_beef([certificate.payment, (parent, None), (transaction, None)])
        return Submission(beef, Certificate(transaction, token, certificate.payment), certificate)

    async def ask_again(self, txids: Sequence[bytes]) -> None:
        """Every acknowledgement holds; what was not acknowledged is submitted again."""
        gate = asyncio.Semaphore(CONNECTIONS)

        async def ask(submission: Submission) -> None:
            async with gate:
                await self.submit(submission)

        doubtful, self.ledger.doubtful = self.ledger.doubtful, []
        known = [self.ledger.acknowledged[txid][0] for txid in txids]
        await asyncio.gather(*(ask(submission) for submission in (*known, *doubtful)))

    async def mine(self) -> None:
        async with self._session.post("/dev/mine", json={}) as response:
            demand(response.status == 200, await response.text())

    async def find_all(self) -> list[str]:
        """Every live outpoint, page by page."""
        found: list[str] = []
        query: dict[str, Any] = {"limit": 200}
        while True:
            body = {"service": "ls_metawatt", "query": query}
            async with self._session.post("/lookup", json=body) as response:
                answer = await response.json()
            for output in answer["outputs"]:
                subject = parse_envelope(bytes(output["beef"])).subject
                found.append(f"{subject.txid_hex}.{output['outputIndex']}")
            if not answer.get("cursor"):
                return found
            query = {"limit": 200, "cursor": answer["cursor"]}


# The loop


class KillLoop:
    def __init__(self, process: NodeProcess, customers: Customers, chance: random.Random) -> None:
        self._process = process
        self._customers = customers
        self._ledger = customers.ledger
        self._chance = chance
        self._checked: set[bytes] = set()
        self.kills = 0

    async def run(self, kills: int) -> None:
        """Kill that often, then let everything come to rest. `Broken` when an invariant does not hold."""
        while self.kills < kills:
            await self._live()
            if self.kills % 20 == 0:
                print(f"{self.kills} kills, {len(self._ledger.acknowledged)} acknowledged", flush=True)
        self._process.begin()
        await self._process.ready()
        await self._customers.ask_again(list(self._ledger.acknowledged))
        await self._come_to_rest()
        await self._check_all()

    async def _live(self) -> None:
        self._process.begin()
        if self._chance.random() < 0.1:
            await asyncio.sleep(self._chance.uniform(0, 1.5))
            self._kill()
            return
        await self._process.ready()
        await self._check_acknowledged()
        await self._customers.take_coins()
        load = asyncio.create_task(self._customers.load())
        await asyncio.sleep(self._chance.uniform(0.02, 0.6))
        if self._chance.random() < 0.3:
            await self._customers.mine()
        self._kill()
        await load

    def _kill(self) -> None:
        self._process.kill()
        self.kills += 1

    async def _check_acknowledged(self) -> None:
        """All that the last lives acknowledged, and some of what came before."""
        fresh = [txid for txid in self._ledger.acknowledged if txid not in self._checked]
        old = self._chance.sample(sorted(self._checked), min(20, len(self._checked)))
        await self._customers.ask_again([*fresh, *old])
        self._checked.update(self._ledger.acknowledged)

    async def _come_to_rest(self) -> None:
        """All work that was promised gets done, whoever had begun it: broadcast, mined, proven."""
        deadline = monotonic() + REST_SECS
        async with opened(self._process.folder) as store:
            while True:
                left = await store.count(OUTBOX), await store.count(TRANSACTIONS, Find(index="pending"))
                if left == (0, 0):
                    return
                demand(monotonic() < deadline, f"{left[0]} broadcasts are left, {left[1]} are not proven")
                if left[0] == 0:
                    await self._customers.mine()
                await asyncio.sleep(1)

    async def _check_all(self) -> None:
        live = self._ledger.live
        found = await self._customers.find_all()
        demand(len(found) == len(set(found)), "an output is found twice")
        demand(set(found) == live, f"lost: {live - set(found)}; not known: {set(found) - live}")
        async with opened(self._process.folder) as store:
            submissions = [submission for submission, _ in self._ledger.acknowledged.values()]
            demand(await store.count(OUTPUTS) == len(submissions), "an output is stored twice, or not")
            spends = sum(1 + (submission.of is not None) for submission in submissions)
            demand(await store.count(SPENDS) == spends, "a spend is stored twice, or not")
            faults = [*await check_invariants(store), *await check_partitions(store), *await store.check()]
        demand(not faults, "\n".join(faults))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteStore]:
    """The node's database, beside the node."""
    store = SqliteStore(folder / "data" / "node.db", cache_mib=4)
    services = hosted_lookup_services(Settings())
    await store.open([*ENGINE_COLLECTIONS, *(each for service in services for each in service.collections)])
    try:
        yield store
    finally:
        await store.close()


async def kill_again_and_again(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kills, and submissions that were acknowledged; `Broken` when an invariant does not hold."""
    chance = random.Random(seed)
    with node_process(folder) as process:
        timeout = aiohttp.ClientTimeout(total=30)
        connector = aiohttp.TCPConnector(limit=2 * CONNECTIONS)
        async with aiohttp.ClientSession(process.url, timeout=timeout, connector=connector) as session:
            customers = Customers(session, chance)
            loop = KillLoop(process, customers, chance)
            await loop.run(kills)
            return loop.kills, len(customers.ledger.acknowledged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        kills, acknowledged = asyncio.run(
            kill_again_and_again(options.data_dir or Path(folder), options.kills, options.seed)
        )
    print(f"{kills} kills; {acknowledged} acknowledged submissions are all there, once")


if __name__ == "__main__":
    main()
