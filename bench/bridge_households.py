"""Households of a bridge campaign: they measure, deposit tokens with good and bad memos, lock certificates, and
make every mistake that the bridge must survive. A rogue issuer copies origins.

What they do is not remembered: the chains know what happened, and are all that is judged.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from time import time
from typing import Any, Final
from uuid import uuid4

import aiohttp
from base58 import b58encode
from nacl.signing import SigningKey
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import transfer_checked
from spl.token.models import TransferCheckedParams

from bridge.meters.formats import Format, signed_message
from bridge.programs.keys import FileSigner
from bridge.programs.packing import Packed
from bridge.programs.signing import signed
from bridge.programs.tokens import associated_account
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SendRefused
from config.errors import MetawattError, Unavailable

UNITS_A_WH: Final = 10**6
INTERVAL_SECS: Final = 300
_SENDS: Final = 4
_SEND_PAUSE_SECS: Final = 1.5


class Down(Exception):
    """No bridge answers now."""


@dataclass(slots=True)
class Door:
    """The bridges over HTTP, whichever of them lives."""

    session: aiohttp.ClientSession
    bridges: Sequence[Any]
    token: str
    refusals: Counter[str] = field(default_factory=Counter)

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer; `Down` where there is none, or one that says to try later."""
        for bridge in self.bridges:
            if bridge.url is None:
                continue
            try:
                headers = {"Authorization": f"Bearer {self.token}"}
                async with self.session.request(method, bridge.url + path, json=body, headers=headers) as response:
                    told: dict[str, Any] = await response.json()
            except (aiohttp.ClientError, TimeoutError, ValueError):
                continue
            if response.status < 400:
                return told
            self.refusals[str(told.get("code"))] += 1
        raise Down

    async def demand(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The same, until there is one."""
        while True:
            try:
                return await self.ask(method, path, body)
            except Down:
                await asyncio.sleep(0.3)


@dataclass(frozen=True, slots=True)
class Meter:
    serial: str
    key: SigningKey
    wallet: Pubkey

    def registration(self, account_id: str, device_id: str, *, mirror: bool) -> dict[str, Any]:
        return {
            "serial": self.serial,
            "wallet": str(self.wallet),
            "public_key": _text(bytes(self.key.verify_key)),
            "format": Format.GRIDTOKENX.value,
            "interval_secs": INTERVAL_SECS,
            "account_id": account_id,
            "device_id": device_id,
            "mirror": mirror,
            "verified": True,
        }

    def reading(self, at_secs: int, wh: int) -> dict[str, str]:
        kwh = f"{wh // 1000}.{wh % 1000:03}"
        timestamp = datetime.fromtimestamp(at_secs, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = signed_message(Format.GRIDTOKENX, self.serial, timestamp, kwh, str(self.wallet))
        return {
            "meter_serial": self.serial,
            "kwh_amount": kwh,
            "reading_timestamp": timestamp,
            "meter_signature": _text(self.key.sign(message).signature),
        }


@dataclass(slots=True)
class Households:
    """One account with its device, a household with a wallet, and two meters: one pays tokens to the household, the
    other is mirrored. `counts` is by what they did."""

    door: Door
    rpc: ClusterClient
    chance: Random
    holder: Keypair
    payer: FileSigner
    mint: Pubkey
    custody: Pubkey
    account_id: str = ""
    user_id: str = ""
    stranger: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    _meters: tuple[Meter, ...] = ()

    async def settle_in(self) -> None:
        """Everybody is registered."""
        ask = self.door.demand
        place = {"primary_contact": "somebody@example.org"}
        company = await ask("POST", "/organisations", {"name": "Households", "business_id": 1, **place})
        organisation = company["organisation_id"]
        roles = ["Account Holder", "Production Registrar", "Measurement Body", "GC Issuer"]
        user = await ask(
            "POST", "/users", {"name": "Anna", "organisation_id": organisation, "role": roles, **place}
        )
        self.user_id = user["user_id"]
        account = await ask("POST", "/accounts", {"account_name": "Roof", "organisation_id": organisation})
        self.account_id = account["account_id"]
        device = await ask("POST", "/devices", self._device())
        self._meters = tuple(
            Meter(serial, SigningKey(self.chance.randbytes(32)), self.holder.pubkey())
            for serial in ("OPEN-1", "MIRRORED-1")
        )
        for meter in self._meters:
            mirror = meter.serial.startswith("MIRRORED")
            body = meter.registration(self.account_id, device["device_id"], mirror=mirror)
            if mirror:
                device = await ask("POST", "/devices", self._device())
                body["device_id"] = device["device_id"]
            await ask("POST", "/api/meters", body)

    def _device(self) -> dict[str, Any]:
        return {
            "account_id": self.account_id,
            "device_name": f"Roof {secrets.token_hex(2)}",
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

    async def measure(self, readings: int) -> None:
        """So many intervals of each meter, the newest first."""
        newest = int(time()) // INTERVAL_SECS * INTERVAL_SECS
        for number in range(readings):
            for meter in self._meters:
                at_secs = newest - (1 + number) * INTERVAL_SECS
                await self.door.demand(
                    "POST", "/api/meters/submit-reading", meter.reading(at_secs, self.chance.randint(200, 4_000))
                )
                self.counts[f"readings of {meter.serial}"] += 1

    # Solana → BSV

    async def deposit(self) -> None:
        """One deposit, mostly a good one."""
        units = self.chance.randint(50, 900) * UNITS_A_WH
        choice = self.chance.random()
        memos = [f"gwx1:{self.account_id}"]
        kind = "good"
        if choice < 0.06:
            kind, memos = "to a stranger's key", [f"gwx1:{self.stranger}"]
        elif choice < 0.10:
            kind, memos = "malformed memo", [f"gwx1:{secrets.token_hex(7)}"]
        elif choice < 0.14:
            kind, memos = "no memo", []
        elif choice < 0.18:
            kind, units = "dust", units + self.chance.randint(1, UNITS_A_WH - 1)
        elif choice < 0.22:
            kind, memos = "unknown account", [f"gwx1:{uuid4()}"]
        elif choice < 0.25:
            kind, memos = "two memos", [*memos, f"gwx1:{uuid4()}"]
        await self._send([self._transfer(units), *(_memo(each) for each in memos)])
        self.counts[f"deposits: {kind}"] += 1

    def _transfer(self, units: int) -> Instruction:
        source = associated_account(self.holder.pubkey(), self.mint, TOKEN_PROGRAM_ID)
        return transfer_checked(
            TransferCheckedParams(
                program_id=TOKEN_PROGRAM_ID,
                source=source,
                mint=self.mint,
                dest=self.custody,
                owner=self.holder.pubkey(),
                amount=units,
                decimals=9,
            )
        )

    async def _send(self, instructions: Sequence[Instruction]) -> None:
        """The same bytes several times, for the weather is bad. Whether they land is the chain's affair."""
        unique = _memo(secrets.token_hex(8))
        try:
            blockhash = await self.rpc.latest_blockhash()
        except Unavailable:
            return
        packed = Packed((), (*instructions, unique), self.payer.public)
        made = await signed(packed, blockhash.value, [self.payer, FileSigner(self.holder)])
        for _ in range(_SENDS):
            try:
                await self.rpc.send(bytes(made))
            except SendRefused as refusal:
                self.counts["refused by Solana"] += 1
                if "insufficient" in str(refusal.error) + " ".join(refusal.logs):
                    return
            except MetawattError:
                self.counts["unanswered by Solana"] += 1
            await asyncio.sleep(_SEND_PAUSE_SECS)

    # BSV → Solana

    async def lock(self) -> None:
        """One lock of some of the account's certificates, mostly a good one."""
        choice = self.chance.random()
        leaving = {"chain": "solana", "address": str(Keypair().pubkey())}
        kind = "good"
        if choice < 0.05:
            kind, leaving["address"] = "malformed address", "nowhere"
        elif choice < 0.08:
            kind, leaving["chain"] = "another chain", "ethereum"
        elif choice < 0.11:
            kind, leaving["address"] = "to the mint", str(self.mint)
        body = {
            "source_account_id": self.account_id,
            "source_user_id": self.user_id,
            "certificate_quantity": self.chance.randint(10, 300),
            "exit": leaving,
        }
        await self.door.ask("POST", "/certificates/lock", body)
        self.counts[f"locks: {kind}"] += 1

    async def have_refunded(self) -> None:
        """An operator gives back some of what is held."""
        held = await self.door.ask("GET", "/api/bridge/messages?state=HELD&limit=20")
        for each in held["messages"]:
            if self.chance.random() < 0.5:
                body = {"by": "operator", "reason": "a mistake of the sender's"}
                await self.door.ask("POST", f"/api/admin/bridge/messages/{each['message_id']}/refund", body)
                self.counts["refunds asked for"] += 1

    async def have_resumed(self) -> None:
        """An operator ends pauses; the bridge refuses that while parity is breached."""
        told = await self.door.ask("GET", "/api/admin/bridge/pauses")
        for direction in told["paused"]:
            body = {"direction": direction, "by": "operator", "reason": "looked at, and sound"}
            await self.door.ask("POST", "/api/admin/bridge/resume", body)
            self.counts["resumed"] += 1


def _memo(text: str) -> Instruction:
    return Instruction(MEMO_PROGRAM_ID, text.encode(), [])


def _text(data: bytes) -> str:
    return b58encode(data).decode()
