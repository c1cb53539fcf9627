"""The play's second part: a smart meter's readings become tokens on Solana. It is played against a real node, and
whatever does not go as told ends the play."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

from solana.exceptions import SolanaExceptionBase
from solana.rpc.async_api import AsyncClient
from solana.rpc.core import RPCException
from solders.pubkey import Pubkey

from bridge.records import reading_id, reading_key
from cli.play.client import NodeClient, PlayFailed
from cli.play.meters import Measured, SmartMeter
from cli.play.solana import Ledger
from cli.play.stage import Stage

_PATIENCE_SECS: Final = 60.0
_PAUSE_SECS: Final = 0.2
_SUBMIT: Final = "/api/meters/submit-reading"
_FORGED_KWH: Final = "9.500000"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What there is to look at afterwards: a reading, and the token account of the meter's owner."""

    reading_id: str
    account: str


@dataclass(slots=True)
class MeterStory:
    """The play. `operator_token` is the node's admin token, `solana` a client of its cluster; `now_secs` the time
    that the meter's clock shows."""

    client: NodeClient
    solana: AsyncClient
    stage: Stage
    operator_token: str
    now_secs: float

    async def play(self) -> Tokens:
        """All acts; `PlayFailed` when something does not go as told."""
        meter = SmartMeter()
        measured = list(meter.measured(self.now_secs))
        await self._register(meter)
        await self._hand_in(meter, measured)
        token = await self._token()
        minted = await self._minted(meter, measured)
        self._show(measured, minted, token)
        ledger = Ledger(self.solana, Pubkey.from_string(token["mint"]))
        try:
            await self._prove(ledger, meter, measured[0], minted[0])
            await self._count(ledger, meter, sum(each["units"] for each in minted), token["decimals"])
        except (RPCException, SolanaExceptionBase) as error:
            raise PlayFailed(f"Solana does not tell: {error}") from error
        return Tokens(minted[0]["id"], str(ledger.account(meter.wallet)))

    async def _register(self, meter: SmartMeter) -> None:
        self.stage.act(f"A smart meter, {meter.serial}, is registered")
        self.stage.say("With its public key, and the wallet on Solana of the household that it belongs to.")
        await self._told("POST", "/api/meters", meter.registration, 201)
        shown = await self._told("POST", f"/api/meters/{meter.serial}/verify", {}, 200)
        self._expect(shown["status"] == "verified", "the operator verifies it", shown)
        self.stage.say("The operator verifies it; from now on its readings are taken.")

    async def _hand_in(self, meter: SmartMeter, measured: Sequence[Measured]) -> None:
        first, *others = measured
        body = meter.reading(first)
        self.stage.act("It signs what it measured, and hands that in")
        for line in meter.text(first).splitlines():
            self.stage.say(f"  {line}")
        status, taken = await self.client.ask("POST", _SUBMIT, body)
        self._expect((status, taken.get("state")) == (201, "accepted"), "the reading is taken", taken)
        self.stage.say(f"POST {_SUBMIT}: 201, accepted as {taken['id']}.")
        status, again = await self.client.ask("POST", _SUBMIT, body)
        self._expect((status, again.get("id")) == (200, taken["id"]), "it is here already", again)
        self.stage.say(
            "The same message again: 200, the same reading. After a lost answer a meter just sends again."
        )
        status, refusal = await self.client.ask("POST", _SUBMIT, body | {"kwh_amount": _FORGED_KWH})
        self._expect((status, refusal.get("code")) == (401, "ERR_SIGNATURE_INVALID"), "it is refused", refusal)
        self.stage.say(f"{_FORGED_KWH} kWh under the same signature: {status} {refusal['code']}.")
        for each in others:
            status, taken = await self.client.ask("POST", _SUBMIT, meter.reading(each))
            self._expect(status == 201, "further readings are taken", taken)
        self.stage.say(f"{len(others)} more intervals are handed in.")

    async def _token(self) -> dict[str, Any]:
        """The token, once the node is connected to its cluster."""

        async def connected() -> dict[str, Any] | None:
            status, told = await self.client.ask("GET", "/api/token")
            return told if status == 200 else None

        return await _until(connected, "connected to Solana")

    async def _minted(self, meter: SmartMeter, measured: Sequence[Measured]) -> list[dict[str, Any]]:
        """The readings, once all of them are minted, for good."""
        self.stage.act("The readings become tokens on Solana")
        self.stage.say(
            "The node runs a Solana cluster of its own here, with the real token program, and polls often."
        )
        ids = [reading_id(reading_key(meter.serial, each.start_ms)) for each in measured]
        return [await _until(partial(self._if_minted, each), "minted") for each in ids]

    async def _if_minted(self, each: str) -> dict[str, Any] | None:
        shown = await self._told("GET", f"/api/meters/readings/{each}", None, 200)
        return shown if shown["minted"] else None

    def _show(self, measured: Sequence[Measured], minted: Sequence[dict[str, Any]], token: dict[str, Any]) -> None:
        rows = [
            (each.timestamp, f"{each.kwh} kWh", f"{shown['units']:,}", shown["state"], str(shown["slot"]))
            for each, shown in zip(measured, minted, strict=True)
        ]
        self.stage.totals(("interval (UTC)", "energy", "base units", "state", "slot"), rows)
        ratio, decimals = token["kwh_to_token_ratio"], token["decimals"]
        self.stage.say(
            f"Tokens for one kWh: {ratio}; {decimals} decimals, in integers throughout. Nothing is rounded."
        )

    async def _prove(self, ledger: Ledger, meter: SmartMeter, first: Measured, shown: dict[str, Any]) -> None:
        signature = shown["mint_tx_signature"]
        self.stage.say(f"Minted by {signature}, and final.")
        self.stage.say(f"Its memo names the readings, in base58: {await ledger.memo(signature)}")
        self.stage.say(f"Its marker is {await ledger.marker(meter, first)}, an account that can be made only once:")
        self.stage.say("the interval is never minted again, whatever this node forgets, or sends twice.")

    async def _count(self, ledger: Ledger, meter: SmartMeter, expected: int, decimals: int) -> None:
        self.stage.say("The household believes no node. With solana-py, from Solana's own JSON-RPC:")
        actual = await ledger.balance(meter.wallet)
        self._expect(actual == expected, f"the wallet holds {expected} base units", actual)
        tokens = Decimal(actual).scaleb(-decimals).normalize()
        self.stage.say(f"✓ {expected:,} base units expected, {actual:,} held: {tokens:f} tokens.")

    async def _told(self, method: str, path: str, body: Any, expected: int) -> dict[str, Any]:
        """What the operator is answered."""
        status, told = await self.client.ask(method, path, body, token=self.operator_token)
        self._expect(status == expected, f"{method} {path} is answered {expected}", told)
        return told

    @staticmethod
    def _expect(as_told: bool, what: str, seen: Any) -> None:
        if not as_told:
            raise PlayFailed(f"not as told ({what}): {seen}")


async def _until(look: Callable[[], Awaitable[dict[str, Any] | None]], what: str) -> dict[str, Any]:
    """What a look finds, as soon as it finds something."""
    try:
        async with asyncio.timeout(_PATIENCE_SECS):
            while True:
                if (found := await look()) is not None:
                    return found
                await asyncio.sleep(_PAUSE_SECS)
    except TimeoutError:
        raise PlayFailed(f"not {what} within {_PATIENCE_SECS:g} seconds") from None
