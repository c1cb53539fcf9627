"""The play's third part: a meter's energy crosses to BSV and comes back, each Wh live on one chain at a time. It is
played against a real node, and whatever does not go as told ends the play."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
from solana.rpc.async_api import AsyncClient
from solders.pubkey import Pubkey

from bridge.mirror.receipts.audited_bsv import Trusting
from bridge.mirror.receipts.auditing import Verdict, audited, contradictions
from bridge.mirror.receipts.findings import Outcome
from bridge.mirror.receipts.trusted_headers import TrustedHeaders
from cli.play.client import NodeClient, PlayFailed
from cli.play.meters import SmartMeter
from cli.play.proof import check_proof
from cli.play.solana import Ledger
from cli.play.stage import Stage, kwh
from overlay.chain import HeaderSource

_PATIENCE_SECS: Final = 60.0
_PAUSE_SECS: Final = 0.2
_UNITS_A_WH: Final = 10**6
_BLOCKS: Final = 6
"""The dev network's default for `bridge.confirmations`."""
_LEAVING_WH: Final = 600
"""Of the 1,500 Wh that were measured."""
_EQUATION: Final = (
    ("custody", "tokens in custody on Solana"),
    ("live", "= certificates that live on BSV"),
    ("in_flight_in", "+ on the way to BSV"),
    ("in_flight_out", "+ on the way to Solana"),
    ("held", "+ held for a person"),
    ("difference", "difference"),
)
"""What parity says of a bridge that burns nothing."""
_HEADERS_A_TIME: Final = 200


@dataclass(frozen=True, slots=True)
class Receipts:
    """What there is to audit afterwards: both receipts, and the headers of the chain."""

    paths: tuple[Path, ...]
    headers: Path


@dataclass(slots=True)
class MirrorStory:
    """The play. `operator_token` is the node's admin token; receipts are kept in `folder`; `now_secs` is the time
    that the meter's clock shows."""

    session: aiohttp.ClientSession
    client: NodeClient
    headers: HeaderSource
    solana: AsyncClient
    stage: Stage
    operator_token: str
    folder: Path
    now_secs: float

    async def play(self) -> Receipts:
        """All acts; `PlayFailed` when something does not go as told."""
        meter = SmartMeter()
        account, user, device = await self._register(meter)
        incoming = await self._cross(meter)
        await self._query(device)
        wallet = meter.wallet
        leaving = await self._lock(account, user, wallet)
        await self._count(wallet)
        receipts = await self._audit([incoming, leaving])
        await self._compare()
        return receipts

    # Solana → BSV

    async def _register(self, meter: SmartMeter) -> tuple[str, str, str]:
        self.stage.act(f"A meter, {meter.serial}, is mirrored: tokens in custody, certificates on BSV")
        place = {"primary_contact": "office@sunny.example"}
        company = await self._asked("POST", "/organisations", {"name": "Sunny", "business_id": 1, **place})
        of_company = {"organisation_id": company["organisation_id"]}
        roles = ["Account Holder", "Production Registrar"]
        user = await self._asked("POST", "/users", {"name": "Anna", "role": roles, **of_company, **place})
        account = await self._asked("POST", "/accounts", {"account_name": "Roof", **of_company})
        account_id = account["account_id"]
        device = await self._asked("POST", "/devices", {"account_id": account_id, **_DEVICE})
        body = meter.registration | {
            "account_id": account_id,
            "device_id": device["device_id"],
            "mirror": True,
            "verified": True,
        }
        await self._asked("POST", "/api/meters", body, 201)
        self.stage.say("It belongs to a device of the registry, which says source, country and capacity, and to an")
        self.stage.say("account, which the certificates go to. What the bridge does not know it does not invent.")
        return account_id, user["user_id"], device["device_id"]

    async def _cross(self, meter: SmartMeter) -> dict[str, Any]:
        measured = next(iter(meter.measured(self.now_secs)))
        taken = await self._asked("POST", "/api/meters/submit-reading", meter.reading(measured), 201)
        self.stage.say(f"It signs {measured.kwh} kWh and hands that in. The tokens are minted into custody.")
        shown = await _until(partial(self._minted, taken["id"]), "minted")
        self.stage.say(f"Solana: minted by {shown['mint_tx_signature']}, final in slot {shown['slot']}.")
        message = await self._ended(f"signature={shown['mint_tx_signature']}", "RECEIPTED")
        (certificate,) = message["certificates"]
        self.stage.say(f"BSV: {certificate['wh']:,} certificates of 1 Wh, at {certificate['outpoint']}.")
        self.stage.say(f"The crossing's id is {message['message_id']}: of it are made the certificate's `origin`,")
        self.stage.say("and whatever marks the crossing on either chain. It cannot happen twice.")
        return message

    async def _minted(self, reading_id: str) -> dict[str, Any] | None:
        shown = await self._asked("GET", f"/api/meters/readings/{reading_id}")
        return shown if shown["minted"] else None

    async def _query(self, device: str) -> None:
        self.stage.act("A buyer finds it in its topic")
        query = {"energy_source": "solar_pv", "country": "DE", "device_id": device}
        self.stage.say(f"POST /lookup {json.dumps(query)}")
        (found,) = await self.client.wait_for_proofs(query, _PATIENCE_SECS)
        self.stage.certificates([found.token])
        self.stage.say(f"✓ {await check_proof(found, self.headers)}.")
        origin = found.token.origin
        self._expect(isinstance(origin, dict) and origin.get("bridge") == "gwx1", "it has an origin", origin)
        assert isinstance(origin, dict)
        self.stage.say(f"Under the issuer's signature it says where it came from: {origin['chain']}.")

    # BSV → Solana

    async def _lock(self, account: str, user: str, wallet: Pubkey) -> dict[str, Any]:
        self.stage.act(f"The holder locks {kwh(_LEAVING_WH)} of it to the bridge, and has tokens back")
        body = {
            "source_account_id": account,
            "source_user_id": user,
            "certificate_quantity": _LEAVING_WH,
            "exit": {"chain": "solana", "address": str(wallet)},
        }
        locked = await self._asked("POST", "/certificates/lock", body, 202)
        (txid,) = locked["tx_ids"]
        self.stage.say(f"BSV: locked by {txid}, with the wallet on Solana in `exit`.")
        self.stage.say(
            f"{_BLOCKS} blocks later that is final, by the node's own headers; then the token is released."
        )
        message = await self._ended(f"txid={txid}", "RECEIPTED")
        self.stage.say(
            f"Solana: released by {message['destination']['transaction']}, marked by {message['marker']}."
        )
        self.stage.say(
            f"BSV: these certificates are Withdrawn by {message['withdrawal']}, which names that transaction."
        )
        return message

    async def _count(self, wallet: Pubkey) -> None:
        token = await self._asked("GET", "/api/token")
        balance = await Ledger(self.solana, Pubkey.from_string(token["mint"])).balance(wallet)
        self._expect(balance == _LEAVING_WH * _UNITS_A_WH, "the wallet has its tokens back", balance)
        self.stage.say(f"✓ The wallet holds {balance:,} base units: {kwh(_LEAVING_WH)}, to the last one.")

    async def _ended(self, source: str, state: str) -> dict[str, Any]:
        """The message of a source, once it has come to its end. Blocks are mined meanwhile."""

        async def look() -> dict[str, Any] | None:
            await self.client.mine()
            status, told = await self.client.ask("GET", f"/api/bridge/search?{source}")
            if status == 404:
                return None
            self._expect(status == 200, "the bridge knows it", told)
            (message,) = told["messages"]
            self._expect(message["state"] != "HELD", "it is not held", message)
            return dict(message) if message["state"] == state else None

        return await _until(look, state)

    # Audit

    async def _audit(self, messages: Sequence[dict[str, Any]]) -> Receipts:
        self.stage.act("An auditor believes no bridge: both receipts, checked offline")
        headers = await self._kept_headers()
        trusted = TrustedHeaders(by_height={height: digest for height, (digest, _) in headers.items()})
        verdicts: list[Verdict] = []
        paths: list[Path] = []
        for message in messages:
            data = await self._receipt(message["receipt"])
            path = self.folder / f"receipt-{message['direction']}.json"
            path.write_bytes(data)
            paths.append(path)
            verdicts.append(audited(data, Trusting(trusted, None, None)))
        for path, message, verdict in zip(paths, messages, verdicts, strict=True):
            self._tell(path.name, message, verdict)
        self._expect(not contradictions(verdicts), "they do not contradict each other", contradictions(verdicts))
        self._forge(paths[0], messages[0], Trusting(trusted, None, None))
        raw = self.folder / "headers.json"
        raw.write_text(json.dumps({str(height): text for height, (_, text) in headers.items()}))
        names = " ".join(path.name for path in paths)
        self.stage.say(f"Each check, a line: metawatt audit {names} --headers {raw.name}")
        return Receipts(tuple(paths), raw)

    def _tell(self, name: str, message: dict[str, Any], verdict: Verdict) -> None:
        """How many checks there were, of which kind, and what the receipt says that no proof stands for."""
        self._expect(verdict.outcome is Outcome.OK, "all that can be proven is proven", verdict.outcome)
        counts = Counter(check.outcome for check in verdict.checks)
        way = "Solana to BSV" if message["direction"] == "in" else "BSV to Solana"
        self.stage.say(f"{name}: {kwh(message['wh'])} from {way}")
        self.stage.say(f"✓ {counts[Outcome.OK]} checks hold: signatures, both transactions, Merkle paths, amounts.")
        self.stage.say(f"  {counts[Outcome.ATTESTED]} more are the bridge's word, and marked so; for one:")
        finality = next(check.text for check in verdict.checks if check.text.startswith("the cluster executed it"))
        self.stage.say(f"  {finality}.")

    def _forge(self, path: Path, message: dict[str, Any], trusting: Trusting) -> None:
        """A receipt of one Wh more than crossed is found out."""
        told, forged = (f'"units":"{units}"'.encode() for units in _one_wh_more(message))
        data = path.read_bytes()
        self._expect(told in data, "the receipt has its amount", path.name)
        verdict = audited(data.replace(told, forged), trusting)
        self._expect(verdict.outcome is Outcome.FAILED, "a forged receipt fails", verdict.outcome)
        failed = sum(check.outcome is Outcome.FAILED for check in verdict.checks)
        self.stage.say(f"✓ With 1 Wh more written into {path.name}, {failed} checks fail.")

    async def _kept_headers(self) -> dict[int, tuple[bytes, str]]:
        """Hashes as on the wire, and headers in hex, by height."""
        tip = await self.headers.tip()
        found: dict[int, tuple[bytes, str]] = {}
        for start in range(0, tip.height + 1, _HEADERS_A_TIME):
            for header in await self.headers.range(start, min(_HEADERS_A_TIME, tip.height + 1 - start)):
                found[header.height] = header.hash, header.raw.hex()
        return found

    async def _receipt(self, path: str) -> bytes:
        async with self.session.get(self.client.base_url + path) as response:
            data = await response.read()
        self._expect(response.status == 200, "there is a receipt", data[:200])
        return data

    async def _compare(self) -> None:
        self.stage.act("Parity: what lies in custody is what lives on BSV, and what is on its way")
        told = await _until(self._parity, "computed")
        self._expect(told["is_exact"], "parity is exact", told)
        rows = [(text, f"{int(told['units'][name]):,}") for name, text in _EQUATION]
        self.stage.totals(("", "base units"), rows)
        self.stage.say(f"✓ {told['verdict']} Recomputed from slot {told['slot']} of Solana, block {told['height']}")
        self.stage.say(
            "of BSV, and the bridge's log. Nothing is rounded, and nothing is ever made up for by itself."
        )

    async def _parity(self) -> dict[str, Any] | None:
        status, told = await self.client.ask("GET", "/api/bridge/parity")
        return told if status == 200 else None

    async def _asked(self, method: str, path: str, body: Any = None, expected: int = 200) -> dict[str, Any]:
        """What the operator is answered."""
        status, told = await self.client.ask(method, path, body, token=self.operator_token)
        self._expect(status == expected, f"{method} {path} is answered {expected}", told)
        return told

    @staticmethod
    def _expect(as_told: bool, what: str, seen: Any) -> None:
        if not as_told:
            raise PlayFailed(f"not as told ({what}): {seen}")


def _one_wh_more(message: dict[str, Any]) -> tuple[int, int]:
    """A message's base units, and those of 1 Wh more."""
    units = int(message["units"])
    return units, units + _UNITS_A_WH


_DEVICE: Final[dict[str, Any]] = {
    "device_name": "Rooftop South 7",
    "energy_source": "solar_pv",
    "technology_type": "solar_pv",
    "capacity": 75_000,
    "peak_demand": 0,
    "operational_date": "2021-04-01",
    "grid": "10YDE-EON------1",
    "location": [48.1351, 11.582],
    "country": "DE",
    "zone": "DE-LU",
}


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
