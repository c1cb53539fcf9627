"""A campaign of faults against the bridge: does every Wh live on one chain, whatever happens?

    python -m bench.bridge_campaign [--seeds 20] [--messages 500] [--kind real] [--report FILE]

Readings are minted into a household's wallet and into the bridge's custody; tokens are deposited, certificates
locked, well and badly; a rogue issuer copies origins. Meanwhile the Solana cluster drops, delays, denies and forks
(bench/mint_weather.py), the BSV chain reorganises at every depth below finality (bench/bridge_weather.py), an exit
is spent twice, and two bridges on one database, whole nodes, are killed with SIGKILL before and after every state,
and at random, with clocks that are off and that jump. All the while the chains alone are asked whether anything was
issued or released twice, or for nothing. Then the weather clears, the bridges finish, and parity is judged to the
base unit.

The exit status is 1 when the real bridge is not exact, and when one that is without the marker, the record before
the send, or the accountant is exact all the same: then the campaign would prove nothing of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

import aiohttp
from base58 import b58decode
from solders.keypair import Keypair
from spl.token.constants import TOKEN_PROGRAM_ID

from bench.bridge_chains import Solana, Terms, read_bsv, read_solana
from bench.bridge_check import Booked, Verdict, in_the_end, so_far
from bench.bridge_households import Door, Down, Households
from bench.bridge_processes import Bridge, Fate, bsv_process, settings_of
from bench.bridge_report import Result, report
from bench.bridge_rogue import Rogue
from bench.bridge_weather import BsvWeather
from bench.bridge_worker import Kind
from bench.chain_reader import Chain, Lags, RpcError
from bench.mint_processes import Broken, cluster_process
from bench.mint_weather import MOST_LAG_SLOTS, Weather
from bridge.mirror.records import MESSAGES, MIRROR_COLLECTIONS
from bridge.programs.keys import FileSigner
from bridge.programs.setup import create_mint, fund
from bridge.programs.tokens import associated_account
from bridge.solana.client import ClusterClient
from overlay.keys import PrivateKey
from store.pages import every
from store.port import Find
from store.sqlite import SqliteStore

CONFIRMATIONS: Final = 4
FUNDS_LAMPORTS: Final = 900 * 10**9
LOOK_SECS: Final = 8.0
_BLOCK_SECS: Final = 0.7
_FINAL_SLOTS: Final = 40
_TREASURY_SATOSHIS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One campaign: of about so many messages, half of them each way."""

    kind: Kind
    seed: int
    messages: int
    folder: Path
    slot_ms: int = 25
    storm_secs: float = 60.0
    rest_secs: float = 240.0


@dataclass(slots=True)
class Campaign:
    """One campaign on chains of its own."""

    plan: Plan
    chain: Chain
    terms: Terms
    bridges: Sequence[Bridge]
    households: Households
    rogue: Rogue
    solana_weather: Weather
    bsv_weather: BsvWeather
    bsv_database: Path
    chance: Random
    verdict: Verdict = field(default_factory=Verdict)

    async def run(self) -> Result:
        started = monotonic()
        await self._begin()
        begun = monotonic()
        async with asyncio.timeout(self.plan.storm_secs * 3 + 120):
            await self._storm()
        stormed = monotonic()
        await self.solana_weather.clear()
        await self._rest()
        await self._judge()
        spans = f"begun {begun - started:.0f} s, storm {stormed - begun:.0f} s, rest {monotonic() - stormed:.0f} s"
        print(f"{self.plan.kind}, seed {self.plan.seed}: {spans}", file=sys.stderr, flush=True)
        deaths: Counter[str] = sum((each.deaths for each in self.bridges), Counter())
        weather = self.solana_weather.counts + self.bsv_weather.counts
        counts = self.households.counts + self.rogue.counts
        return Result(self.plan.kind, self.plan.seed, self.verdict, deaths, weather, counts, monotonic() - started)

    async def _begin(self) -> None:
        """In fair weather: who takes part, what is measured, and the first certificates, to be locked later."""
        await self.bridges[0].start()
        await self.rogue.fund_bridge()
        await self.households.settle_in()
        self.terms = replace(self.terms, account=self.households.account_id)
        await self.households.measure(self.plan.messages // 4)
        await self._until(self._some_certificates, "no certificates came")
        await self.bridges[0].stop()

    async def _some_certificates(self) -> bool:
        await self.bsv_weather.mine()
        bsv = await read_bsv(self.bsv_database)
        return sum(each.origin is not None for each in bsv.certificates.values()) >= self.plan.messages // 8

    async def _until(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        deadline = monotonic() + self.plan.rest_secs
        while not await is_so():
            if monotonic() > deadline:
                raise Broken(what)
            await asyncio.sleep(0.5)

    # The storm

    async def _storm(self) -> None:
        """All at once; whichever fails first ends it."""
        fates = [Fate(Random(self.chance.getrandbits(64)), self.plan.kind) for _ in self.bridges]
        works = [
            self.solana_weather.blow(),
            self.bsv_weather.blow(),
            self._look_on(),
            *(fate.rule(each) for fate, each in zip(fates, self.bridges, strict=True)),
        ]
        tasks = [asyncio.create_task(each) for each in works]
        driving = asyncio.create_task(self._drive())
        try:
            done, _ = await asyncio.wait(
                [*tasks, driving], timeout=self.plan.storm_secs * 3, return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                each.result()
            await asyncio.sleep(3)
        finally:
            for each in (*tasks, driving):
                each.cancel()
            await asyncio.gather(*tasks, driving, return_exceptions=True)

    async def _drive(self) -> None:
        """Deposits and locks over the storm, in random order."""
        half = self.plan.messages // 2
        works = ["deposit"] * (half - self.plan.messages // 4) + ["lock"] * half + ["rogue"] * 6 + ["refund"] * 8
        works += ["double spend"] * 3 + ["resume"] * 12
        self.chance.shuffle(works)
        pause_secs = self.plan.storm_secs / len(works)
        deposits: set[asyncio.Task[None]] = set()
        for work in works:
            task = asyncio.create_task(self._do(work))
            deposits.add(task)
            task.add_done_callback(deposits.discard)
            await asyncio.sleep(pause_secs)
        await asyncio.gather(*deposits)

    async def _do(self, work: str) -> None:
        doings = {
            "deposit": self.households.deposit,
            "lock": self.households.lock,
            "refund": self.households.have_refunded,
            "resume": self.households.have_resumed,
            "rogue": self.rogue.copy_an_origin,
            "double spend": self.rogue.spend_twice,
        }
        for _ in range(40):
            try:
                await doings[work]()
                return
            except Down:
                await asyncio.sleep(0.5)

    async def _look_on(self) -> None:
        """Is anything wrong so far?"""
        while True:
            before = await read_bsv(self.bsv_database)
            try:
                solana = await self._solana_as_of_now()
            except (RpcError, aiohttp.ClientError, KeyError, TypeError):
                await asyncio.sleep(1)  # the weather: an answer that is lost, or a node that lags
                continue
            so_far(self.verdict, self.terms, before, solana, await read_bsv(self.bsv_database))
            await asyncio.sleep(LOOK_SECS)

    async def _solana_as_of_now(self) -> Solana:
        """All that is final by now, which a node that lags tells only later."""
        at_least = await self.chain.final_slot() + MOST_LAG_SLOTS
        while True:
            try:
                return await read_solana(self.chain, self.terms, at_least)
            except Lags:
                await asyncio.sleep(0.1)

    # Afterwards

    async def _rest(self) -> None:
        """Bridges that nobody kills finish, on chains that go on."""
        for each in self.bridges:
            await each.end()
        await self.bridges[0].start()
        mining = asyncio.create_task(self._mine_on())
        try:
            still = await self._calm()
        finally:
            mining.cancel()
            await asyncio.gather(mining, return_exceptions=True)
        if still:
            print(f"{self.plan.kind}, seed {self.plan.seed}: still {dict(still)}", file=sys.stderr, flush=True)
        await self.bridges[0].stop()
        await self.chain.call("dev_advance", _FINAL_SLOTS)
        await self.bsv_weather.mine(CONFIRMATIONS)

    async def _mine_on(self) -> None:
        while True:
            await self.bsv_weather.mine()
            await asyncio.sleep(_BLOCK_SECS)

    async def _calm(self) -> Counter[str]:
        """Until nothing is open, twice in a row; what is still, after too long."""
        deadline = monotonic() + self.plan.rest_secs
        calm, still = 0, Counter[str]()
        while monotonic() < deadline and calm < 2:
            with suppress(Down):
                await self.households.have_resumed()
            still = await self._open()
            calm = 0 if still else calm + 1
            await asyncio.sleep(1)
        return still

    async def _open(self) -> Counter[str]:
        """What is still to do, by state; and what the chains have and the bridge has not seen."""
        books = await self._books()
        solana = await read_solana(self.chain, self.terms)
        ended = {"RECEIPTED", "REFUNDED", "HELD", "SRC_ORPHANED"}
        still = Counter(each.state for each in books.values() if each.state not in ended)
        still["unseen"] += sum(each not in books for each in solana.deposits)
        return +still

    async def _books(self) -> dict[bytes, Booked]:
        store = SqliteStore(self.plan.folder / "node.db", cache_mib=4)
        await store.open(MIRROR_COLLECTIONS)
        try:
            rows = await every(store, MESSAGES, Find("seq"))
        finally:
            await store.close()
        return {row["_id"]: Booked(row["state"], row["reason"] and row["reason"]["code"]) for row in rows}

    async def _judge(self) -> None:
        bsv = await read_bsv(self.bsv_database)
        solana: Solana = await read_solana(self.chain, self.terms)
        in_the_end(self.verdict, self.terms, bsv, solana, await self._books())


@asynccontextmanager
async def campaign(plan: Plan) -> AsyncIterator[Campaign]:
    """The ground: both chains, a mint, keys, funds, and bridges that are not started yet."""
    chance = Random(f"{plan.seed}")
    minter = FileSigner.load(plan.folder / "minter.json", make=True)
    bridge = FileSigner.load(plan.folder / "bridge.json", make=True)
    own, rogue_key = PrivateKey.from_int(chance.getrandbits(200)), PrivateKey.from_int(chance.getrandbits(200))
    _keep_secret(plan.folder / "node.key", own.secret.hex())
    _keep_secret(plan.folder / "admin.token", f"{chance.getrandbits(256):064x}")
    async with (
        bsv_process(plan.folder / "bsv") as bsv_url,
        cluster_process(plan.folder, plan.slot_ms) as (rpc_url, ws_url),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
    ):
        rpc = ClusterClient(rpc_url)
        for signer in (minter, bridge):
            await fund(rpc, signer.public, FUNDS_LAMPORTS)
        mint = await create_mint(rpc, minter, token_program=TOKEN_PROGRAM_ID, decimals=9)
        chain = Chain(session, rpc_url)
        await chain.call("dev_advance", _FINAL_SLOTS)
        custody = associated_account(bridge.public, mint, TOKEN_PROGRAM_ID)
        terms = Terms(
            str(mint),
            str(custody),
            str(bridge.public),
            own.public,
            b58decode(await chain.call("getGenesisHash")),
            await _bsv_genesis(session, bsv_url),
            has_markers=plan.kind is not Kind.UNMARKED,
        )
        issuers = [own.public.hex(), rogue_key.public.hex()]
        settings = settings_of(plan.folder, bsv_url, rpc_url, ws_url, str(mint), issuers, CONFIRMATIONS)
        bridges = [Bridge(plan.kind, plan.folder, number, settings) for number in range(2)]
        token = (plan.folder / "admin.token").read_text().strip()
        door = Door(session, bridges, token)
        households = Households(door, rpc, chance, Keypair.from_seed(chance.randbytes(32)), minter, mint, custody)
        rogue = Rogue(session, door, bsv_url, rogue_key, own.public, Random(chance.getrandbits(64)))
        households.stranger = rogue.stranger.public.hex()
        weathers = (
            Weather(chain, Random(chance.getrandbits(64)), plan.slot_ms, str(mint)),
            BsvWeather(session, bsv_url, Random(chance.getrandbits(64)), CONFIRMATIONS),
        )
        made = Campaign(
            plan, chain, terms, bridges, households, rogue, *weathers, plan.folder / "bsv" / "devchain.db", chance
        )
        try:
            yield made
        finally:
            for each in bridges:
                await each.end()
            await rpc.close()


def _keep_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")


async def _bsv_genesis(session: aiohttp.ClientSession, url: str) -> bytes:
    """The hash of block 0, as on the wire."""
    async with session.get(f"{url}/dev/headers/api/v1/chain/header/byHeight?height=0&count=1") as response:
        response.raise_for_status()
        (header,) = await response.json()
    return bytes.fromhex(header["hash"])[::-1]


async def run(plan: Plan) -> Result:
    """One campaign from beginning to end. `Broken` when it could not be carried out."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    async with campaign(plan) as made:
        return await made.run()


def fails(results: Sequence[Result]) -> list[str]:
    """Why the exit status is 1; nothing when all is as it must be."""
    found = [
        f"seed {each.seed}: {each.verdict.faults[0]}"
        for each in results
        if each.kind is Kind.REAL and each.verdict.faults
    ]
    for kind in Kind:
        those = [each for each in results if each.kind is kind]
        if kind is not Kind.REAL and those and all(each.verdict.is_exact for each in those):
            found.append(f"the bridge that is {kind} was exact: the campaign does not bite")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="campaigns for each kind, seeded 1, 2, …")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--kind", type=Kind, action="append", choices=list(Kind), dest="kinds")
    parser.add_argument("--slot-ms", type=int, default=25)
    parser.add_argument("--storm-secs", type=float, default=60.0)
    parser.add_argument("--data-dir", type=Path, help="where chains, stores and logs are kept; default: nowhere")
    parser.add_argument("--report", type=Path, help="write the report there, too")
    options = parser.parse_args()
    os.environ.setdefault("METAWATT_LOG__FORMAT", "json")
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = options.data_dir or Path(temporary)
        for kind in options.kinds or [Kind.REAL]:
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                folder = root / f"{kind}-{seed}"
                plan = Plan(kind, seed, options.messages, folder, options.slot_ms, options.storm_secs)
                results.append(asyncio.run(run(plan)))
                print(f"{kind}, seed {seed}: {results[-1].summary}", file=sys.stderr, flush=True)
    text = report(results)
    print(text)
    if options.report is not None:
        options.report.write_text(text)
    if found := fails(results):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
