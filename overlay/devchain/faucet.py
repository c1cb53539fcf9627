"""The faucet: pays out of the block rewards. It keeps its coins by the height from which they can be spent,
so that finding some does not take longer as the chain grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from config.errors import BadRequest, ErrorCode, Unavailable
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder, p2pkh_lock
from overlay.devchain.pool import Pool
from overlay.devchain.records import COINS, STATE
from overlay.keys import PrivateKey
from overlay.transaction import MAX_SATOSHIS, Output, Transaction, split_outpoint
from store.port import Document, Find, Insert, Reader, Store

MAX_OUTPUTS: Final = 1000
MAX_SCRIPT_BYTES: Final = 10_000
_MAX_COINS = 200
_PAGE = 50
_SPARE_SATOSHIS = 100_000
"""More than the fee for the inputs of the largest payment."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What the faucet paid: the outputs `vouts` of a mined transaction, and its BEEF."""

    txid: bytes
    vouts: tuple[int, ...]
    beef: bytes


async def faucet_key(store: Store) -> PrivateKey:
    """The faucet's key, made at the chain's first start."""
    known = await store.get(STATE, "faucet")
    if known is not None:
        return PrivateKey(known["secret"])
    key = PrivateKey.generate()
    await store.commit([Insert(STATE, {"_id": "faucet", "secret": key.secret})])
    return key


class Faucet:
    """Builds payments; the chain mines them."""

    def __init__(self, reader: Reader, key: PrivateKey) -> None:
        self._reader = reader
        self._signer = P2pkhSigner(key)
        self.public_key = key.public
        self.script = p2pkh_lock(key.public)

    async def pay(self, script: bytes, satoshis: int, count: int, next_height: int, pool: Pool) -> Transaction:
        """A signed transaction of `count` outputs, `satoshis` each, for a block at `next_height`.

        `BadRequest` for amounts out of bounds, `Unavailable` when the faucet has not enough ripe coins.
        """
        check_payment(script, satoshis, count)
        builder = TransactionBuilder()
        for coin in await self._coins(satoshis * count + _fee_bound(script, count), next_height, pool):
            builder.spend(coin, self._signer)
        for _ in range(count):
            builder.pay(satoshis, script)
        return builder.change_to(self.script).build()

    async def _coins(self, wanted: int, next_height: int, pool: Pool) -> list[Coin]:
        chosen: list[Coin] = []
        after = None
        while len(chosen) < _MAX_COINS:
            page = await self._reader.find(COINS, Find("by_ready", upper=next_height + 1, limit=_PAGE, after=after))
            for document in page.documents:
                if pool.spender(document["_id"]) is None:
                    chosen.append(self._coin(document))
                    wanted -= document["satoshis"]
                if wanted <= 0:
                    return chosen
            after = page.last
            if after is None:
                break
        raise Unavailable("the faucet has no ripe coins for that; mine blocks first")

    def _coin(self, document: Document) -> Coin:
        txid, index = split_outpoint(document["_id"])
        return Coin(txid, index, Output(document["satoshis"], self.script))


def check_payment(script: bytes, satoshis: int, count: int) -> None:
    """`BadRequest` when the faucet pays no such thing."""
    if not script or len(script) > MAX_SCRIPT_BYTES:
        raise BadRequest(f"lockingScript has 1 to {MAX_SCRIPT_BYTES} bytes", ErrorCode.BAD_REQUEST)
    if not 1 <= count <= MAX_OUTPUTS:
        raise BadRequest(f"count is 1 to {MAX_OUTPUTS}", ErrorCode.BAD_REQUEST)
    if not 1 <= satoshis * count <= MAX_SATOSHIS or satoshis < 1:
        raise BadRequest("satoshis is at least 1, and all of them must exist", ErrorCode.BAD_REQUEST)


def _fee_bound(script: bytes, count: int) -> int:
    return (len(script) + 16) * count + _SPARE_SATOSHIS
