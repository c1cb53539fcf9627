"""A whole node on a free port of this machine: real engine, storage, topics, lookup services and dev chain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.node import Node
from api.server import Server
from certificates.issuance import issue
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL, encode_fields
from config.settings import Settings
from overlay import pushdrop
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder, p2pkh_lock, to_extended, write_beef
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.topic import Admission, Metadata, Submission
from overlay.transaction import Transaction

ISSUER = PrivateKey.from_int(1001)
OWNER = PrivateKey.from_int(5000)
PAYER = PrivateKey.from_int(4000)
BINARY = "application/octet-stream"


@dataclass
class Reply:
    """What came back, read to its end."""

    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        import orjson

        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        return orjson.loads(self.body)


@dataclass
class Certificate:
    """An issuance: a child of a mined payment, with one certificate output at index 0."""

    beef: bytes
    transaction: Transaction
    extended: bytes

    @property
    def txid_hex(self) -> str:
        return self.transaction.txid_hex


@dataclass
class Running:
    """A node that listens, and a client of it."""

    node: Node
    server: Server
    client: aiohttp.ClientSession
    _numbers: Any = field(default_factory=count)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def ask(self, method: str, path: str, **kwargs: Any) -> Reply:
        async with self.client.request(method, self.url + path, **kwargs) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **kwargs: Any) -> Reply:
        return await self.ask("GET", path, **kwargs)

    async def post(self, path: str, json: Any, **kwargs: Any) -> Reply:
        return await self.ask("POST", path, json=json, **kwargs)

    async def submit(self, body: bytes, topics: str = '["tm_metawatt_gc"]', **headers: str) -> Reply:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask(
            "POST", "/submit", data=body, headers={"Content-Type": BINARY, "x-topics": topics, **names}
        )

    async def lookup(self, query: Any, **headers: str) -> Reply:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.post("/lookup", {"service": "ls_metawatt", "query": query}, headers=names)

    async def admin(self, method: str, path: str, **kwargs: Any) -> Reply:
        headers = {"Authorization": f"Bearer {self.node.admin_token}"}
        return await self.ask(method, path, headers=headers, **kwargs)

    async def fund(self, number: int = 1) -> list[tuple[Transaction, bytes, int]]:
        """Mined payments to PAYER: transaction, BUMP, output index."""
        script = p2pkh_lock(PAYER.public).hex()
        reply = await self.post("/dev/faucet", {"lockingScript": script, "satoshis": 10_000, "count": number})
        assert reply.status == 200, reply.body
        told = reply.json()
        envelope = parse_envelope(bytes.fromhex(told["beef"]))
        member = envelope.members[envelope.subject.txid]
        assert member.bump is not None
        path = member.bump.extract(envelope.subject.txid)
        return [(member.transaction, path, index) for index in told["vouts"]]

    async def certificate(self) -> Certificate:
        return (await self.certificates(1))[0]

    async def certificates(self, number: int) -> list[Certificate]:
        """Distinct issuances, not submitted yet."""
        funds = await self.fund(number)
        return [_issue(parent, bump, index, next(self._numbers)) for parent, bump, index in funds]


def _issue(parent: Transaction, bump: bytes, index: int, number: int) -> Certificate:
    coin = Coin(parent.txid, index, parent.outputs[index])
    owner = OWNER.derive_public(OWNER_PROTOCOL, f"token {number}", "self")
    token = issue(
        _attributes(number),
        Range(1, 40_000),
        spends=parent.txid + index.to_bytes(4, "little"),
        output_index=0,
        issuer_key=ISSUER.public,
        locking_key=owner,
    )
    key = ISSUER.derive(ISSUANCE_PROTOCOL, token.issuance_id, "anyone")
    token = token.with_signature(key.sign(sha256(token.signed_text).digest()))
    builder = TransactionBuilder().spend(coin, P2pkhSigner(PAYER))
    builder.pay(1, pushdrop.lock(owner, encode_fields(token))).change_to(p2pkh_lock(PAYER.public))
    child = builder.build()
    beef = write_beef([(parent, bump), (child, None)])
    return Certificate(beef, child, to_extended(child, [parent.outputs[index]]))


def _attributes(number: int) -> dict[str, Any]:
    day, hour = 1 + number // 23, number % 23
    return {
        "account_id": "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11",
        "energy_carrier": "electricity",
        "energy_source": "solar_pv",
        "face_value": 1,
        "issuance_post_energy_carrier_conversion": False,
        "registry_configuration": 1,
        "device_id": "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42",
        "device_name": "Roof 1",
        "device_technology_type": "solar_pv",
        "device_production_start_date": "2021-04-01",
        "device_capacity": 100_000,
        "device_location": [52.1, 5.2],
        "device_type": "production",
        "production_starting_interval": f"2026-01-{day:02d}T{hour:02d}:00:00Z",
        "production_ending_interval": f"2026-01-{day:02d}T{hour + 1:02d}:00:00Z",
        "issuance_datestamp": f"2026-01-{day:02d}",
        "expiry_datestamp": f"2028-01-{day:02d}",
        "country_of_issuance": "NL",
        "connected_grid_identification": "10YNL----------L",
        "issuing_body": "Example Issuing Body",
        "issue_market_zone": "NL",
    }


class HeldTopic:
    """A topic that admits everything, once `release` is set: submissions that take as long as a test wants."""

    name = "tm_held"
    metadata = Metadata("tm_held", "Waits")
    documentation = "# tm_held"

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.judging = 0

    async def judge(self, submission: Submission) -> Admission:
        self.judging += 1
        await self.release.wait()
        return Admission(tuple(range(len(submission.transaction.outputs))))


Launch = Callable[..., Awaitable[Running]]


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a node that is alone on a free port; sections may be given."""

    def make(**sections: Any) -> Settings:
        node = {"port": 0, "data_dir": tmp_path, "shutdown_secs": 5, **sections.pop("node", {})}
        topics = {"issuers": [{"identity_key": ISSUER.public.hex(), "name": "Example Issuing Body"}]}
        return Settings(node=node, topics=topics, dev={"initial_blocks": 101}, **sections)

    return make


@pytest.fixture
async def launch(settings_of: Callable[..., Settings]) -> AsyncIterator[Launch]:
    """Starts nodes; `ready=False` only listens, as a node does until it has started."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, ready: bool = True, **sections: Any) -> Running:
            node = Node(settings_of(**sections))
            server = Server(node)
            stack.push_async_callback(server.stop)
            await (server.start() if ready else server.listen())
            client = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            return Running(node, server, client)

        yield start


@pytest.fixture
async def running(launch: Launch) -> Running:
    """A node with the default limits."""
    return await launch()


@pytest.fixture
def held() -> HeldTopic:
    return HeldTopic()


@pytest.fixture
def raw_http() -> Callable[[int, Sequence[bytes]], Awaitable[bytes]]:
    """Sends bytes as they are, and reads until the server closes."""

    async def exchange(port: int, pieces: Sequence[bytes], pause_secs: float = 0.0) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_secs)
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    return exchange
