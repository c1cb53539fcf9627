"""A rogue issuer whom the node trusts, and a stranger with a wallet of its own who spends one coin twice."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any, Final

import aiohttp
from base58 import b58decode_check
from solders.keypair import Keypair

from bench.bridge_households import Door, Down
from certificates import successor
from certificates.issuance import issue
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL, TOKEN_SATOSHIS, Token, encode_fields
from cli.play.client import Found, NodeClient
from overlay import pushdrop
from overlay.builder import Coin, P2pkhSigner, PushDropSigner, Signer, TransactionBuilder, p2pkh_lock
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey, derive_for_anyone
from overlay.transaction import Output, Transaction, outpoint
from overlay.wire import to_extended, write_beef

_TREASURY_SATOSHIS: Final = 3_000_000
_COINS: Final = 4
_OWN: Final = frozenset(
    {
        "issuance_id",
        "certificate_status",
        "bundle_id_range_start",
        "bundle_id_range_end",
        "bundle_quantity",
    }
)


@dataclass(slots=True)
class Rogue:
    """Speaks to the chain at `bsv_url`, and to whichever bridge lives. `bridge` is the bridge's identity key."""

    session: aiohttp.ClientSession
    door: Door
    bsv_url: str
    key: PrivateKey
    bridge: bytes
    chance: Random
    counts: Counter[str] = field(default_factory=Counter)
    _funds: list[Found] = field(default_factory=list)

    @property
    def stranger(self) -> PrivateKey:
        """Whoever gets what is deposited to a key that has no account."""
        return PrivateKey(sha256(b"stranger" + self.key.secret).digest())

    async def fund_bridge(self) -> None:
        """Coins for the bridge's fees."""
        told = await self.door.demand("GET", "/admin/wallet")
        script = _script_of(told["deposit_address"])
        for _ in range(_COINS):
            beef = await self._paid(script)
            await self.door.demand("POST", "/admin/wallet/deposit", {"beef": b64encode(beef).decode()})

    async def _paid(self, script: bytes) -> bytes:
        body = {"lockingScript": script.hex(), "satoshis": _TREASURY_SATOSHIS, "count": 1}
        async with self.session.post(f"{self.bsv_url}/dev/faucet", json=body) as response:
            response.raise_for_status()
            return bytes.fromhex((await response.json())["beef"])

    @property
    def _chain(self) -> NodeClient:
        return NodeClient(self.session, self.bsv_url)

    # A copied origin

    async def copy_an_origin(self) -> None:
        """A certificate of the rogue's own issue that claims to mirror a message of the bridge's, locked for a
        release."""
        found = await self._certificates({"status": ["Active"]})
        genuine = [each for each in found if each.token.origin and each.token.issuer_key == self.bridge]
        if not genuine:
            raise Down
        copied = self.chance.choice(genuine).token
        issued, key = await self._issue(copied)
        await self._submit(issued[0], issued[1])
        token, locked = issued[2], issued[0]
        beef_members = issued[1]
        leaving = self._leaving()
        funds = await self._coin()
        lock = successor.lock(token, self._bridge_lock(leaving), leaving)
        made = self._spend(locked, 0, PushDropSigner(key), funds, lock)
        await self._submit(made, [*beef_members, (locked, None), *_members(funds)])
        self.counts["rogue: copied origins locked"] += 1

    async def _issue(
        self, copied: Token
    ) -> tuple[tuple[Transaction, list[tuple[Transaction, bytes | None]], Token], PrivateKey]:
        funds = await self._coin()
        spent = outpoint(funds.coin.txid, funds.coin.index)
        owner = self.key.derive(OWNER_PROTOCOL, f"rogue {self.chance.getrandbits(60)}", "self")
        attributes = {name: value for name, value in copied.bundle.attributes.items() if name not in _OWN}
        token = issue(
            attributes,
            Range.of(1, copied.bundle.quantity),
            spends=spent,
            output_index=0,
            issuer_key=self.key.public,
            locking_key=owner.public,
            origin=copied.origin,
        )
        signer = self.key.derive(ISSUANCE_PROTOCOL, token.issuance_id, "anyone")
        token = token.with_signature(signer.sign(sha256(token.signed_text).digest()))
        builder = TransactionBuilder().spend(funds.coin, P2pkhSigner(self.key))
        builder.pay(TOKEN_SATOSHIS, _script(token))
        transaction = builder.change_to(p2pkh_lock(self.key.public)).build()
        return (transaction, _members(funds), token), owner

    # One coin, spent twice

    async def spend_twice(self) -> None:
        """The stranger's certificate: one transaction goes to the network, another one, a lock, to the bridge."""
        found = await self._certificates({"status": ["Active"]})
        own = [each for each in found if self._is_strangers(each.token)]
        if not own:
            raise Down
        certificate = self.chance.choice(own)
        note: Any = certificate.token.note
        owner = self.stranger.derive(OWNER_PROTOCOL, note["key_id"], "anyone")
        subject, index = certificate.envelope.subject, certificate.output_index
        leaving = self._leaving()
        lock = successor.lock(certificate.token, self._bridge_lock(leaving), leaving)
        away = successor.transfer(certificate.token, PrivateKey.generate().public)
        funds, more = await self._coin(), await self._coin()
        elsewhere = self._spend(subject, index, PushDropSigner(owner), funds, away)
        locking = self._spend(subject, index, PushDropSigner(owner), more, lock)
        sources = [subject.outputs[index], funds.coin.output]
        async with self.session.post(
            f"{self.bsv_url}/dev/arc/v1/tx",
            data=_extended(elsewhere, sources),
            headers={"Content-Type": "application/octet-stream"},
        ) as response:
            self.counts[f"double spends: the network said {response.status}"] += 1
        proven = [(m.transaction, m.bump.raw if m.bump else None) for m in certificate.envelope.ancestry()]
        await self._submit(locking, [*proven, *_members(more)])
        self.counts["double spends: locks handed in"] += 1

    def _is_strangers(self, token: Token) -> bool:
        note = token.note
        if not isinstance(note, dict) or not isinstance(note.get("key_id"), str) or token.origin is None:
            return False
        return derive_for_anyone(self.stranger.public, OWNER_PROTOCOL, note["key_id"]) == token.locking_key

    # Tools

    def _leaving(self) -> dict[str, Any]:
        key_id = f"{self.chance.getrandbits(64):016x}"
        return {"chain": "solana", "address": str(Keypair().pubkey()), "key_id": key_id}

    def _bridge_lock(self, leaving: Mapping[str, Any]) -> bytes:
        return derive_for_anyone(self.bridge, OWNER_PROTOCOL, leaving["key_id"])

    async def _coin(self) -> Found:
        if not self._funds:
            self._funds = await self._chain.faucet(p2pkh_lock(self.key.public), 20_000, 20)
        return self._funds.pop()

    def _spend(self, source: Transaction, index: int, signer: Signer, funds: Found, token: Token) -> Transaction:
        builder = TransactionBuilder().spend(Coin(source.txid, index, source.outputs[index]), signer)
        builder.spend(funds.coin, P2pkhSigner(self.key)).pay(TOKEN_SATOSHIS, _script(token))
        return builder.change_to(p2pkh_lock(self.key.public)).build()

    async def _certificates(self, query: dict[str, Any]) -> list[Found]:
        for bridge in self.door.bridges:
            if bridge.url is None:
                continue
            body = {"service": "ls_metawatt", "query": {**query, "limit": 50}}
            try:
                async with self.session.post(f"{bridge.url}/lookup", json=body) as response:
                    told = await response.json()
                return [Found(parse_envelope(bytes(each["beef"])), each["outputIndex"]) for each in told["outputs"]]
            except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
                continue
        raise Down

    async def _submit(self, transaction: Transaction, members: list[tuple[Transaction, bytes | None]]) -> None:
        beef = write_beef([*_once(members), (transaction, None)])
        headers = {"Content-Type": "application/octet-stream", "X-Topics": "tm_metawatt_gc"}
        for bridge in self.door.bridges:
            if bridge.url is None:
                continue
            try:
                async with self.session.post(f"{bridge.url}/submit", data=beef, headers=headers) as response:
                    await response.read()
                if response.status == 200:
                    return
                self.counts[f"submissions refused with {response.status}"] += 1
            except (aiohttp.ClientError, TimeoutError):
                continue
        raise Down


def _members(found: Found) -> list[tuple[Transaction, bytes | None]]:
    return [(each.transaction, each.bump.raw if each.bump else None) for each in found.envelope.ancestry()]


def _once(members: list[tuple[Transaction, bytes | None]]) -> list[tuple[Transaction, bytes | None]]:
    return list({transaction.txid: (transaction, bump) for transaction, bump in members}.values())


def _script(token: Token) -> bytes:
    return pushdrop.lock(token.locking_key, encode_fields(token))


def _script_of(address: str) -> bytes:
    return b"\x76\xa9\x14" + b58decode_check(address)[1:] + b"\x88\xac"


def _extended(transaction: Transaction, sources: list[Output]) -> bytes:
    """Extended format (BRC-30)."""
    return to_extended(transaction, sources)
