"""Receipts of real crossings on both embedded chains, and the headers to trust."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from basket.keyring import Keyring
from bridge.cluster.cluster import Cluster
from bridge.connecting import cluster_row
from bridge.mirror.checks.mirror_check import check_mirror
from bridge.mirror.message import Message
from bridge.mirror.receipts.receipt import Receipt, read_receipt
from bridge.mirror.receipts.statement import read_statement
from bridge.mirror.receipts.writing import whole_receipt
from bridge.mirror.states import State
from bridge.records import CONFIG
from certificates.canonical import canonical
from overlay.clock import system_now_ms
from overlay.keys import PrivateKey
from store.port import Insert
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to, stranger
from tests.overlay.kit import Chain, Clock

ISSUER: Final = PrivateKey.from_int(1001)
"""The bridge of the kit, and its issuer."""


@dataclass(frozen=True, slots=True)
class Played:
    """Receipts as they were handed out, by what they are about; the chain's headers as JSON and in a row; and the
    node's database."""

    folder: Path
    receipts: Mapping[str, bytes]
    headers: bytes
    chain: bytes

    def receipt(self, name: str) -> Receipt:
        return read_receipt(self.receipts[name])


async def play(folder: Path) -> Played:
    """A deposit of two readings, a meter's mint into custody, a deposit without memo that is given back, an exit,
    and an exit to no address that is given back."""
    async with _opened(folder) as node:
        holder = Keypair()
        await node.mint_readings(holder, [1_000, 2_000])
        await node.mint_to_custody([700])
        await node.deposit(holder, 1_500 * UNITS_A_WH, memo_to())
        await node.until(State.RECEIPTED)
        await node.deposit(holder, 100 * UNITS_A_WH, None)
        await node.lock(600, str(Keypair().pubkey()))
        await node.lock(50, "nobody", owner=stranger().public.hex())
        return await _ended(node, folder)


async def play_burns(folder: Path) -> Played:
    """Where tokens are burned: a burn for a stranger's key, one that names nobody and is given back, an exit."""
    async with _opened(folder, mode="burn") as node:
        holder = Keypair()
        await node.mint_readings(holder, [1_000, 2_000])
        await node.burn(holder, 500 * UNITS_A_WH, memo_to(stranger().public.hex()))
        await node.burn(holder, 900 * UNITS_A_WH, memo_to())
        await node.until(State.RECEIPTED)
        await node.burn(holder, 100 * UNITS_A_WH, memo_to("nobody"))
        await node.lock(800, str(Keypair().pubkey()))
        return await _ended(node, folder)


@asynccontextmanager
async def _opened(folder: Path, **bridge: Any) -> AsyncIterator[MirrorNode]:
    async with AsyncExitStack() as stack:
        store = SqliteStore(folder / "solana.db")
        cluster = Cluster(store, network="dev", slot_ms=0, now_ms=system_now_ms)
        await cluster.open()
        stack.push_async_callback(cluster.close)
        server = SolanaServer(cluster, "127.0.0.1", 0)
        await server.start()
        stack.push_async_callback(server.stop)
        clock = Clock()
        chain = Chain(folder, clock)
        await chain.open()
        stack.push_async_callback(chain.close)
        node = MirrorNode(chain, cluster, server.rpc_url, SqliteStore(folder / "node.db", cache_mib=4), clock)
        await node.open(**bridge)
        stack.push_async_callback(node.close)
        yield node


async def _ended(node: MirrorNode, folder: Path) -> Played:
    """Everything has crossed, or is given back, and is in a block."""
    await node.until(State.RECEIPTED, State.HELD)
    await _refund_held(node)
    await node.until(State.RECEIPTED, State.REFUNDED)
    for _ in range(2):
        await node.round()  # what withdrew the certificate is in a block, too
    assert await check_mirror(node.store) == []
    # As a node that connects by its settings leaves it: which cluster, and which mint.
    await node.store.commit([Insert(CONFIG, cluster_row(await node.rpc.genesis_hash(), node.mode))])
    ground = node.parts.ground.registry.ground
    receipts = {}
    for message in await node.messages():
        found = await whole_receipt(ground, message.id)
        assert found is not None
        receipts[_name(message)] = found
    headers = node.registry.node.headers
    raws = {height: header.raw for height in range(headers.tip_height + 1) if (header := headers.header_at(height))}
    by_height = {str(height): raw.hex() for height, raw in raws.items()}
    return Played(folder, receipts, orjson.dumps(by_height), b"".join(raws[height] for height in sorted(raws)))


async def _refund_held(node: MirrorNode) -> None:
    for message in await node.messages():
        if message.state is State.HELD:
            arguments = {"message": message.id.hex(), "reason": "to be given back"}
            await node.mirror.desk.ask("refund", arguments, "a test", wait_secs=0)
    await node.parts.operating.round()


def _name(message: Message) -> str:
    if message.is_refund:
        return f"{message.kind} given back"
    return f"{message.kind}, a stranger's" if "identity" in message.facts else message.kind.value


def edited(data: bytes, path: Sequence[str | int], value: Any, *, key: PrivateKey | None = None) -> bytes:
    """A receipt with one member changed. With `key` the bridge's signature is made anew, over whatever it says, as
    a bridge that lies could."""
    whole = orjson.loads(data)
    at = whole
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return data if key is None and canonical(whole) == data else _signed(whole, key)


def anew(data: bytes, changes: Mapping[str, Any], key: PrivateKey = ISSUER) -> bytes:
    """A receipt with members of its `message` changed, under the id that follows, signed by the bridge."""
    whole = orjson.loads(data)
    whole["message"] |= changes
    statement = read_statement({name: each for name, each in whole.items() if name not in ("signature", "proofs")})
    whole["message"]["id"] = statement.computed_id().hex()
    return _signed(whole, key)


def _signed(whole: dict[str, Any], key: PrivateKey | None) -> bytes:
    if key is not None:
        statement = {name: each for name, each in whole.items() if name not in ("signature", "proofs")}
        whole["signature"] = Keyring(key).sign_receipt(whole["message"]["id"], canonical(statement)).hex()
    return canonical(whole)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every member of a JSON value that has none itself, with its path."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not value or not isinstance(value, dict | list):
        yield path, value
    for step, each in steps:
        yield from leaves(each, (*path, step))


def another(value: Any) -> Any:
    """Another value of the same form."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str() if value:
            last = value[-1]
            return value[:-1] + ("1" if last != "1" else "2")
        case dict():
            return {"more": 1}
        case list():
            return ["more"]
    return "more"
