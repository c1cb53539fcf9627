"""The main job of the node, told in acts over real HTTP. Whatever does not go as told ends the play."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.play.client import SERVICE, Found, NodeClient, PlayFailed
from cli.play.party import Holding, Made, OwnerKey, Party
from cli.play.plants import SOLAR, WIND, Meter
from cli.play.proof import check_proof
from cli.play.stage import Stage, kwh
from overlay.chain import HeaderSource
from overlay.keys import PrivateKey
from topics.names import CERTIFICATES, certificate_topic

_FUNDS_SATOSHIS = 10_000
_PATIENCE_SECS = 30.0
_BENEFICIARY = "Example Steel Works, coil 4711"


@dataclass(slots=True)
class Story:
    """The play.

    `headers` is where a buyer gets block headers from; `issuer` must be an issuing body that the node trusts;
    `day` is midnight, UTC, of the day that the plants are metered on.
    """

    client: NodeClient
    headers: HeaderSource
    stage: Stage
    issuer: Party
    day: datetime

    async def play(self) -> None:
        """All acts; `PlayFailed` when something does not go as told."""
        producer = Party("the producer", PrivateKey.generate())
        buyer = Party("the buyer", PrivateKey.generate())
        await self._fund(producer, buyer)
        solar, wind = Meter.of(SOLAR, self.day), Meter.of(WIND, self.day)
        keys = await self._issue(solar, producer)
        await self._issue(wind, producer)
        await self._mine([solar, wind])
        found = await self._query(solar)
        whole = Holding(found[0], keys[found[0].output_index])
        part = await self._split(whole, producer, buyer)
        await self._cancel(part, buyer)
        await self._tell_totals(solar, wind)

    async def _fund(self, *parties: Party) -> None:
        self.stage.act("Coins for fees")
        self.stage.say("The dev chain's faucet gives each party a few coins, in a block that is mined at once.")
        for party in (self.issuer, *parties):
            party.coins = await self.client.faucet(party.script, _FUNDS_SATOSHIS, 3)

    async def _issue(self, meter: Meter, owner: Party) -> tuple[OwnerKey, ...]:
        plant = meter.plant
        made = self.issuer.issue(meter, owner.key.public)
        hours = len(made.locks)
        topics = [
            CERTIFICATES,
            certificate_topic(plant.source).name,
            certificate_topic(region=plant.country).name,
            certificate_topic(plant.source, plant.country).name,
        ]
        self.stage.act(f"{self.issuer.name} issues {hours} hours of {plant.name} ({plant.country})")
        self.stage.say(
            f"One output an hour, one certificate a Wh: a BEEF of {len(made.beef):,} bytes to POST /submit,"
        )
        self.stage.say(f"for the topics {', '.join(topics)}.")
        steak = await self._submit(made, topics)
        for topic in topics:
            self._expect(steak.get(topic, {}).get("outputsToAdmit") == list(range(hours)), topic, steak)
        self._show_steak({topic: steak[topic] for topic in topics[-1:]})
        return made.locks

    async def _mine(self, meters: Sequence[Meter]) -> None:
        self.stage.act("A block is mined")
        self.stage.say("The node broadcast both transactions; now it is told of, or asks for, their Merkle proofs.")
        await self.client.mine()
        for meter in meters:
            await self.client.wait_for_proofs({"device_id": meter.device_id}, _PATIENCE_SECS)
        self.stage.say("Proofs are in: every answer carries them from now on.")

    async def _query(self, meter: Meter) -> list[Found]:
        self.stage.act("A buyer asks for German solar power")
        query = {"energy_source": "solar_pv", "country": "DE", "status": ["Active"], "device_id": meter.device_id}
        self._show_query(query)
        found = await self.client.lookup(query)
        self._expect(len(found) == len(meter.plant.hourly_wh), "all hours are found", len(found))
        self.stage.certificates(one.token for one in found)
        self.stage.say("The buyer believes no node. With the block headers alone:")
        for told in dict.fromkeys([await check_proof(one, self.headers) for one in found]):
            self.stage.say(f"✓ {told}.")
        return sorted(found, key=lambda one: one.token.bundle.period)

    async def _split(self, holding: Holding, producer: Party, buyer: Party) -> Holding:
        whole = holding.found.token.bundle
        sold = whole.quantity * 2 // 5
        self.stage.act(f"The producer splits one hour and moves {kwh(sold * whole.face_value_wh)} to the buyer")
        owners = [buyer.key.public, producer.key.public]
        made = producer.split(holding, [sold, whole.quantity - sold], owners)
        steak = await self._submit(made, [CERTIFICATES])
        self._expect(steak[CERTIFICATES].get("outputsToAdmit") == [0, 1], "both parts are admitted", steak)
        self.stage.say("The coin is spent in every topic that held it, named or not; its two parts take its place:")
        self._show_steak(steak)
        query = {"issuance_id": whole.issuance_id}
        await self.client.mine()
        parts = await self.client.wait_for_proofs(query, _PATIENCE_SECS)
        self._expect(
            [one.token.bundle.quantity for one in _in_order(parts)] == [sold, whole.quantity - sold],
            "the parts add up",
            len(parts),
        )
        self.stage.certificates(one.token for one in parts)
        return Holding(_in_order(parts)[0], made.locks[0])

    async def _cancel(self, holding: Holding, buyer: Party) -> None:
        self.stage.act("The buyer cancels its part: a public statement that this energy is used")
        self.stage.say(f"Beneficiary: {_BENEFICIARY}. A cancelled certificate can never be sold again.")
        steak = await self._submit(buyer.cancel(holding, _BENEFICIARY), [CERTIFICATES])
        self._expect(steak[CERTIFICATES].get("outputsToAdmit") == [0], "the cancellation is admitted", steak)
        query = {"issuance_id": holding.found.token.issuance_id, "status": ["Cancelled"]}
        self._show_query(query)
        found = await self.client.lookup(query)
        self._expect(len(found) == 1, "the cancelled part is found", len(found))
        self.stage.certificates(one.token for one in found)
        await self.client.mine()

    async def _tell_totals(self, *meters: Meter) -> None:
        self.stage.act("What is where: sums by country, source and status")
        aggregate = {"by": ["country", "energy_source", "status"]}
        self._show_query({"aggregate": aggregate})
        answer = await self.client.answer({"aggregate": aggregate})
        rows = answer["result"]
        self._expect(
            sum(row["quantity_wh"] for row in rows) >= sum(sum(meter.plant.hourly_wh) for meter in meters),
            "no energy is lost",
            rows,
        )
        self.stage.totals(
            ("country", "source", "status", "certificates", "energy"),
            [
                (
                    row["country"],
                    row["energy_source"],
                    row["status"],
                    f"{row['quantity']:,}",
                    kwh(row["quantity_wh"]),
                )
                for row in rows
            ],
        )

    async def _submit(self, made: Made, topics: Sequence[str]) -> dict[str, Any]:
        """The STEAK, once the node has broadcast the transaction too, so that the next block can have it."""
        steak = await self.client.submit(made.beef, topics)
        await self.client.wait_for_broadcast(made.transaction.txid_hex, _PATIENCE_SECS)
        return steak

    def _show_steak(self, steak: dict[str, Any]) -> None:
        for topic, result in steak.items():
            self.stage.say(f"← {topic}: {json.dumps(result)}")

    def _show_query(self, query: dict[str, Any]) -> None:
        self.stage.say(f"POST /lookup {json.dumps({'service': SERVICE, 'query': query})}")

    @staticmethod
    def _expect(as_told: bool, what: str, seen: Any) -> None:
        if not as_told:
            raise PlayFailed(f"not as told ({what}): {seen}")


def _in_order(found: Sequence[Found]) -> list[Found]:
    return sorted(found, key=lambda one: one.token.bundle.range)
