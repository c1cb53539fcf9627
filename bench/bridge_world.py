"""The world of the bridge's benchmarks: both chains, a node with the bridge on, and who takes part.

Every process is a real one on the loopback: the BSV dev chain, `metawatt solana`, `metawatt serve` on network
`test`, which reaches both by HTTP. Households' readings are minted into their wallets first, so that there are
tokens to deposit, and readings that certificates can be of.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from time import monotonic, time
from typing import Any, Final

import aiohttp
from base58 import b58decode_check, b58encode
from nacl.signing import SigningKey
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID

from bench import servers
from bench.bridge_processes import settings_of
from bench.chain_reader import Chain
from bench.servers import Server
from bridge.meters.formats import Format, signed_message
from bridge.mirror.records import MESSAGES, MIRROR_COLLECTIONS
from bridge.mirror.states import Direction, State
from bridge.programs.keys import FileSigner
from bridge.programs.setup import create_mint, fund
from bridge.programs.tokens import associated_account
from bridge.solana.client import ClusterClient
from overlay.keys import PrivateKey
from store.port import Find
from store.sqlite import SqliteStore

METERS: Final = 100
HOUSEHOLDS: Final = 8
LOT_WH: Final = 1_050
INTERVAL_SECS: Final = 300
MINTER_LAMPORTS: Final = 900 * 10**9
BRIDGE_LAMPORTS: Final = 900 * 10**9
_COIN_SATOSHIS: Final = 100_000_000
_COINS: Final = 3
_FINAL_SLOTS: Final = 40
_LONG_SECS: Final = 600
_READINGS_A_BODY: Final = 500
_EARLY: Final = (State.OBSERVED, State.SRC_FINAL)


def household(number: int) -> Keypair:
    """A household's wallet on Solana."""
    return Keypair.from_seed(sha256(f"household {number}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Terms:
    """How a world is set: confirmations on BSV, and how long blocks and slots are."""

    confirmations: int = 6
    block_secs: float = 2.0
    slot_ms: int = 400
    accounts: int = 50
    has_witness: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


class World:
    """Both chains, the mint, and a node that may be stopped and started."""

    def __init__(self, folder: Path, terms: Terms, bsv: Server, solana: Server, session: aiohttp.ClientSession):
        self.folder = folder
        self.terms = terms
        self.bsv = bsv
        self.solana = solana
        self.node: Server | None = None
        self.accounts: list[str] = []
        self.user_id = ""
        self.mint = Pubkey.default()
        self.custody = Pubkey.default()
        self.identity = b""
        self._session = session
        self._environment: dict[str, str] = {}
        self._lives = ExitStack()
        self._store: SqliteStore | None = None
        self._measured = 0
        self._newest_secs = (int(time()) // INTERVAL_SECS - 2) * INTERVAL_SECS

    # Life

    async def prepare(self) -> None:
        """Keys, funds on Solana, the mint, and the node's settings."""
        minter = FileSigner.load(self.folder / "minter.json", make=True)
        bridge = FileSigner.load(self.folder / "bridge.json", make=True)
        own = PrivateKey.from_int(int.from_bytes(sha256(b"bench").digest()[:24], "big"))
        self.identity = own.public
        _keep_secret(self.folder / "node.key", own.secret.hex())
        _keep_secret(self.folder / "admin.token", token_hex(32))
        rpc = ClusterClient(self.solana.url)
        try:
            await fund(rpc, minter.public, MINTER_LAMPORTS)
            await fund(rpc, bridge.public, BRIDGE_LAMPORTS)
            self.mint = await create_mint(rpc, minter, token_program=TOKEN_PROGRAM_ID, decimals=9)
        finally:
            await rpc.close()
        await Chain(self._session, self.solana.url).call("dev_advance", _FINAL_SLOTS)
        self.custody = associated_account(bridge.public, self.mint, TOKEN_PROGRAM_ID)
        ws_url = f"ws://127.0.0.1:{self.solana.port + 1}"
        self._environment = settings_of(
            self.folder,
            self.bsv.url,
            self.solana.url,
            ws_url,
            str(self.mint),
            [own.public.hex()],
            self.terms.confirmations,
        ) | {
            "METAWATT_LOG__LEVEL": "info",
            "METAWATT_BRIDGE__PARITY_SECS": "30",
            "METAWATT_CHAIN__POLL_SECS": "0.5",
            **self.terms.settings,
        }
        if not self.terms.has_witness:
            self._environment["METAWATT_BRIDGE__WITNESS_RPC_URLS"] = "[]"

    async def start(self) -> None:
        """The node, until its bridge is connected."""
        self.node = self._lives.enter_context(servers.metering_node(self.folder, self._environment))
        self._store = SqliteStore(self.folder / "node.db", cache_mib=8)
        await self._store.open(MIRROR_COLLECTIONS)
        await self._until(self._is_connected, "the bridge does not connect")

    async def stop(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None
        self._lives.close()
        self.node = None

    async def _is_connected(self) -> bool:
        return "metawatt_bridge_connected 1" in await self.text("/metrics")

    # Asking

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        assert self.node is not None
        token = (self.folder / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.request(method, self.node.url + path, json=body, headers=headers) as reply:
            told = await reply.text()
            if reply.status >= 300:
                raise SystemExit(f"{method} {path}: {reply.status} {told[:500]}")
            return json.loads(told)

    async def text(self, path: str) -> str:
        assert self.node is not None
        async with self._session.get(self.node.url + path) as reply:
            return await reply.text()

    async def _until(self, is_so: Any, what: str, secs: float = _LONG_SECS) -> None:
        deadline = monotonic() + secs
        while not await is_so():
            if monotonic() > deadline:
                raise SystemExit(what)
            await asyncio.sleep(0.3)

    @property
    def store(self) -> SqliteStore:
        """The node's database, to be read."""
        assert self._store is not None
        return self._store

    # Who takes part

    async def settle_in(self) -> None:
        """Coins for fees, accounts, meters with devices, and what they produced."""
        await self._fund()
        place = {"primary_contact": "somebody@example.org"}
        company = await self.ask("POST", "/organisations", {"name": "Bench", "business_id": 1, **place})
        organisation = {"organisation_id": company["organisation_id"]}
        roles = ["Account Holder", "Production Registrar", "Measurement Body", "GC Issuer"]
        user = await self.ask("POST", "/users", {"name": "Anna", "role": roles, **organisation, **place})
        self.user_id = user["user_id"]
        for number in range(self.terms.accounts):
            body = {"account_name": f"Account {number}", **organisation}
            self.accounts.append((await self.ask("POST", "/accounts", body))["account_id"])
        for number in range(METERS):
            account_id = self.accounts[number % len(self.accounts)]
            device = await self.ask("POST", "/devices", _device(account_id, number))
            await self.ask("POST", "/api/meters", _registration(number, account_id, device["device_id"]))
        self._keep_plan()

    async def _fund(self) -> None:
        told = await self.ask("GET", "/admin/wallet")
        script = b"\x76\xa9\x14" + b58decode_check(told["deposit_address"])[1:] + b"\x88\xac"
        wish = {"lockingScript": script.hex(), "satoshis": _COIN_SATOSHIS, "count": 1}
        for _ in range(_COINS):
            paid = await self.chain("faucet", wish)
            beef = b64encode(bytes.fromhex(paid["beef"])).decode()
            await self.ask("POST", "/admin/wallet/deposit", {"beef": beef})

    def _keep_plan(self) -> None:
        """What bench/bridge_load.py goes by."""
        plan = {
            "mint": str(self.mint),
            "custody": str(self.custody),
            "accounts": self.accounts,
            "user_id": self.user_id,
            "solana": self.solana.url,
            "households": HOUSEHOLDS,
        }
        (self.folder / "plan.json").write_text(json.dumps(plan))

    async def measure(self, wh: int) -> None:
        """Readings of so many Wh at least, minted, and their lots in line."""
        lots = -(-wh // LOT_WH)
        numbers = range(self._measured, self._measured + lots)
        bodies = [
            _reading(number % METERS, self._newest_secs - number // METERS * INTERVAL_SECS) for number in numbers
        ]
        for start in range(0, lots, _READINGS_A_BODY):
            await self.ask("POST", "/api/meters/submit-readings", bodies[start : start + _READINGS_A_BODY])
        self._measured += lots
        minted = f'metawatt_minting_readings_total{{outcome="minted"}} {float(self._measured)}'
        await self._until(lambda: self._shows(minted), "readings are not minted")

    async def _shows(self, line: str) -> bool:
        return line in await self.text("/metrics")

    # BSV

    async def chain(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(f"{self.bsv.url}/dev/{name}", json=body) as response:
            response.raise_for_status()
            told: dict[str, Any] = await response.json()
            return told

    @asynccontextmanager
    async def mining(self) -> AsyncIterator[None]:
        """A block every `block_secs`."""
        task = asyncio.create_task(self._mine())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _mine(self) -> None:
        while True:
            await self.chain("mine", {"blocks": 1})
            await asyncio.sleep(self.terms.block_secs)

    # Backlogs

    async def pause(self) -> None:
        await self._order("pause")

    async def resume(self, count: int) -> None:
        """Once there are so many messages, all of them final where they came from."""

        async def is_there() -> bool:
            if await self.store.count(MESSAGES, Find("seq")) < count:
                return False
            early = [await self.store.count(MESSAGES, Find("state", {"state": each.value})) for each in _EARLY]
            return not any(early)

        await self._until(is_there, "not all came")
        await self._order("resume")

    async def _order(self, what: str) -> None:
        for direction in Direction:
            body = {"direction": direction.value, "by": "bench", "reason": "a backlog"}
            await self.ask("POST", f"/api/admin/bridge/{what}", body)

    # The end

    async def rest(self, count: int, secs: float = _LONG_SECS) -> None:
        """Wait until there are so many messages since the beginning, and none of them is open."""
        deadline = monotonic() + secs
        while True:
            total = await self.store.count(MESSAGES, Find("seq"))
            left = await self.store.count(MESSAGES, Find("open"))
            if total >= count and not left:
                return
            if monotonic() > deadline:
                print(f"  not ended in time: {total} of {count} messages, {left} open", file=sys.stderr)
                return
            await asyncio.sleep(1)

    async def demand_parity(self) -> str:
        """The node's own word; `SystemExit` unless it is exact."""
        told = await self.ask("GET", "/api/bridge/parity")
        if not told["is_exact"]:
            raise SystemExit(f"parity: {told}")
        return str(told["verdict"])


@asynccontextmanager
async def world(folder: Path, terms: Terms) -> AsyncIterator[World]:
    """One with its node running, and nothing measured yet."""
    folder.mkdir(parents=True, exist_ok=True)
    timeout = aiohttp.ClientTimeout(total=120)
    with _chains(folder, terms) as (bsv, solana):
        async with aiohttp.ClientSession(timeout=timeout) as session:
            made = World(folder, terms, bsv, solana, session)
            await made.prepare()
            await made.start()
            try:
                async with made.mining():
                    await made.settle_in()
                    yield made
            finally:
                await made.stop()


@contextmanager
def _chains(folder: Path, terms: Terms) -> Iterator[tuple[Server, Server]]:
    with (
        servers.bsv_chain(folder / "bsv") as bsv,
        servers.solana_cluster(folder / "solana", terms.slot_ms) as solana,
    ):
        yield bsv, solana


def _keep_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def _device(account_id: str, number: int) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "device_name": f"Roof {number}",
        "energy_source": "solar_pv",
        "technology_type": "solar_pv",
        "capacity": 10_000_000,
        "peak_demand": 0,
        "operational_date": "2021-04-01",
        "grid": "10YDE-EON------1",
        "location": [48.1, 11.5],
        "country": "DE",
        "zone": "DE-LU",
    }


def _key(number: int) -> SigningKey:
    return SigningKey(sha256(f"meter {number}".encode()).digest())


def _wallet(number: int) -> str:
    return str(household(number % HOUSEHOLDS).pubkey())


def _registration(number: int, account_id: str, device_id: str) -> dict[str, Any]:
    return {
        "serial": f"BENCH-{number:04}",
        "wallet": _wallet(number),
        "public_key": b58encode(bytes(_key(number).verify_key)).decode(),
        "format": Format.GRIDTOKENX.value,
        "interval_secs": INTERVAL_SECS,
        "account_id": account_id,
        "device_id": device_id,
        "mirror": False,
        "verified": True,
    }


def _reading(meter: int, at_secs: int) -> dict[str, str]:
    kwh = f"{LOT_WH // 1000}.{LOT_WH % 1000:03}"
    serial = f"BENCH-{meter:04}"
    timestamp = datetime.fromtimestamp(at_secs, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = signed_message(Format.GRIDTOKENX, serial, timestamp, kwh, _wallet(meter))
    return {
        "meter_serial": serial,
        "kwh_amount": kwh,
        "reading_timestamp": timestamp,
        "meter_signature": b58encode(_key(meter).sign(message).signature).decode(),
    }
