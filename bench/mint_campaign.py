"""A campaign of faults against the minter: is each reading minted exactly once, whatever happens?

    python -m bench.mint_campaign [--seeds 3] [--readings 1000] [--worker real --worker naive] [--report FILE]

Signed readings are handed in while two worker processes without a lease mint them on the embedded cluster, a
process of its own. The cluster drops transactions, lands them late, loses answers, denies what it knows, lags, and
forks below finality (bench/mint_weather.py); the workers are killed with SIGKILL at every step and at random
moments, and started again. Then the weather clears, the workers finish, and the chain is read and judged
(bench/mint_check.py).

The exit status is 1 when a worker that must be exact is not, and when the naive worker doubles nothing: then the
campaign would prove nothing of the others. Faults are drawn from the seed; what they hit depends on the machine's
timing, too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

import aiohttp
from base58 import b58encode
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID

from bench.chain_reader import Chain
from bench.mint_check import Book, Recorded, Terms, Verdict, checked
from bench.mint_meters import Meters
from bench.mint_processes import Broken, Command, Fate, Worker, cluster_process
from bench.mint_report import Result, report
from bench.mint_weather import Weather
from bench.mint_worker import DECIMALS, Kind
from bridge.programs.keys import FileSigner
from bridge.programs.setup import create_mint, fund
from bridge.records import BRIDGE_COLLECTIONS, MOVEMENTS, READINGS
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenTransaction
from bridge.watching.follower import Watched
from bridge.watching.processor import EventProcessor
from energytag.all_collections import COLLECTIONS
from overlay.clock import system_now_ms
from store.pages import every
from store.port import Find, Write
from store.sqlite import SqliteStore

WAVES: Final = 25
FUNDS_LAMPORTS: Final = 500 * 10**9
REST_SECS: Final = 150.0
"""How long the workers may take to finish once the weather is clear."""
_FINAL_SLOTS: Final = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """One campaign. Readings come in over the first two thirds of `storm_secs`."""

    kind: Kind
    seed: int
    readings: int
    folder: Path
    slot_ms: int = 25
    storm_secs: float = 75.0
    rest_secs: float = REST_SECS


@dataclass(slots=True)
class Campaign:
    """One campaign on its own cluster and store."""

    plan: Plan
    chain: Chain
    store: SqliteStore
    meters: Meters
    terms: Terms
    workers: Sequence[Worker]
    chance: Random
    weather: Weather
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self) -> Result:
        started = monotonic()
        async with asyncio.timeout(self.plan.storm_secs * 2 + 120):
            await self._storm()
        await self.weather.clear()
        await self.rest()
        verdict = await self.judged()
        deaths: Counter[str] = sum((worker.deaths for worker in self.workers), Counter())
        secs = monotonic() - started
        return Result(self.plan.kind, self.plan.seed, verdict, deaths, self.weather.counts, secs)

    async def _storm(self) -> None:
        """All at once: weather, deaths, readings. Whichever fails first ends it."""
        fates = [Fate(Random(self.chance.getrandbits(64)), self.plan.kind) for _ in self.workers]
        storm = asyncio.create_task(self.weather.blow())
        lives = [asyncio.create_task(fate.rule(each)) for fate, each in zip(fates, self.workers, strict=True)]
        readings = asyncio.create_task(self._hand_in())
        try:
            done, _ = await asyncio.wait(
                [storm, *lives], timeout=self.plan.storm_secs, return_when=asyncio.FIRST_EXCEPTION
            )
            for each in done:
                each.result()
            await readings
        finally:
            for each in (storm, *lives, readings):
                each.cancel()
            await asyncio.gather(storm, *lives, readings, return_exceptions=True)

    async def _hand_in(self) -> None:
        """Wave after wave; some readings are handed in twice."""
        waves = self.meters.waves(self.plan.readings, WAVES)
        for wave in waves:
            await self.meters.submit(wave)
            await self.meters.submit(self.chance.sample(wave, len(wave) // 10))
            await asyncio.sleep(self.plan.storm_secs * 2 / 3 / len(waves))

    async def rest(self) -> None:
        """Workers that nobody kills finish; not all kinds ever do."""
        for each in self.workers:
            await each.end()
            await each.start()
        deadline = monotonic() + self.plan.rest_secs
        while await self.store.count(READINGS, Find("open")) and monotonic() < deadline:
            await asyncio.sleep(0.2)
        # What anybody still had up his sleeve comes out, while the workers look on.
        for _ in range(3):
            await self.chain.call("dev_advance", _FINAL_SLOTS)
            await asyncio.sleep(1)
        for each in self.workers:
            await each.stop()
        await self.chain.call("dev_advance", _FINAL_SLOTS)

    async def judged(self) -> Verdict:
        """What the chain says now, and what the books say to it."""
        rows = await every(self.store, READINGS, Find())
        if self.plan.kind.is_naive:
            return await checked(self.chain, self.terms, self.meters.owed, _books(rows))
        before = await self._recorded()
        await self._replay()
        recorded = await self._recorded()
        verdict = await checked(self.chain, self.terms, self.meters.owed, _books(rows), recorded)
        verdict.hidden = verdict.mints - before.total()
        return verdict

    async def _replay(self) -> None:
        """The history once more from its beginning, as an operator has it applied: a cluster that leaves out
        transactions of an address's history is not found out by it alone."""
        rpc = ClusterClient(self.chain.url)
        watched = [Watched("mint", Pubkey.from_string(self.terms.mint))]
        processor = EventProcessor(self.store, rpc, None, watched, system_now_ms, lambda: None, _nothing)
        job = await processor.replay(0)
        await rpc.close()
        if job["state"] != "done":
            raise Broken(f"the replay ended as {job['state']}: {job}")

    async def _recorded(self) -> Counter[Recorded]:
        mints = await every(self.store, MOVEMENTS, Find("kind", {"kind": "mint"}))
        return Counter((each["signature"], each["destination"], each["units"]) for each in mints)


async def _nothing(_: SeenTransaction) -> Sequence[Write]:
    return ()


def _books(rows: Sequence[Mapping[str, object]]) -> dict[str, Book]:
    return {_text(row["_id"]) or "": Book(str(row["state"]), _text(row["attempt"])) for row in rows}


def _text(data: object) -> str | None:
    return b58encode(data).decode() if isinstance(data, bytes) else None


@asynccontextmanager
async def campaign(plan: Plan) -> AsyncIterator[Campaign]:
    """The ground: a cluster, a mint, meters in a store, and workers that are not started yet."""
    chance = Random(f"{plan.seed}")
    key = plan.folder / "key.json"
    signer = FileSigner.load(key, make=True)
    async with cluster_process(plan.folder, plan.slot_ms) as (rpc_url, ws_url), aiohttp.ClientSession() as session:
        rpc = ClusterClient(rpc_url)
        await fund(rpc, signer.public, FUNDS_LAMPORTS)
        mint = await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=DECIMALS)
        await rpc.close()
        chain = Chain(session, rpc_url)
        await chain.call("dev_advance", _FINAL_SLOTS)
        store = SqliteStore(plan.folder / "node.db", cache_mib=4)
        await store.open([*BRIDGE_COLLECTIONS, *COLLECTIONS])
        meters = await Meters.registered(store, Random(chance.getrandbits(64)))
        command = Command(plan.kind, plan.folder, _arguments(plan, key, rpc_url, ws_url, str(mint)))
        workers = [Worker(command, number) for number in range(plan.kind.workers)]
        terms = Terms(str(mint), str(signer.public), DECIMALS, plan.kind.has_markers)
        weather = Weather(chain, Random(chance.getrandbits(64)), plan.slot_ms, str(mint))
        try:
            yield Campaign(plan, chain, store, meters, terms, workers, chance, weather)
        finally:
            for each in workers:
                await each.end()
            await store.close()


def _arguments(plan: Plan, key: Path, rpc_url: str, ws_url: str, mint: str) -> list[str]:
    return [
        *("--worker", plan.kind, "--store", str(plan.folder / "node.db"), "--key", str(key), "--mint", mint),
        *("--rpc-url", rpc_url, "--ws-url", ws_url, "--slot-ms", str(plan.slot_ms)),
    ]


async def run(plan: Plan) -> Result:
    """One campaign from beginning to end. `Broken` when it could not be carried out."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    async with campaign(plan) as made:
        return await made.run()


def fails(results: Sequence[Result]) -> list[str]:
    """Why the exit status is 1; nothing when all is as it must be."""
    found = [
        f"the {each.kind} worker, seed {each.seed}: {each.verdict.faults[0]}"
        for each in results
        if each.kind is Kind.REAL and each.verdict.faults
    ]
    naive = [each for each in results if each.kind.is_naive]
    if naive and not any(each.verdict.double for each in naive):
        found.append("the naive worker doubled nothing: the campaign does not bite")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="campaigns for each worker, seeded 1, 2, …")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--readings", type=int, default=1000)
    parser.add_argument("--worker", type=Kind, action="append", choices=list(Kind), dest="kinds")
    parser.add_argument("--slot-ms", type=int, default=25)
    parser.add_argument("--storm-secs", type=float, default=75.0)
    parser.add_argument("--data-dir", type=Path, help="where chains, stores and logs are kept; default: nowhere")
    parser.add_argument("--report", type=Path, help="write the report there, too")
    options = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = options.data_dir or Path(temporary)
        for kind in options.kinds or [Kind.REAL, Kind.NAIVE]:
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                folder = root / f"{kind}-{seed}"
                plan = Plan(kind, seed, options.readings, folder, options.slot_ms, options.storm_secs)
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
