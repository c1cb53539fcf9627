"""`publish`: a private bundle's transaction goes to the topics, and so to everybody."""

from __future__ import annotations

from dataclasses import dataclass

from basket.funds import FundCoin
from config.errors import ErrorCode, NotFound
from energytag.actions import Action, Kind
from energytag.ground import RegistryGround
from energytag.plan import Handler, Plan, Ready, Scene
from energytag.private import PRIVATE
from overlay.builder import Coin
from overlay.envelope import parse_envelope
from store.port import Delete, Document


@dataclass(frozen=True, slots=True)
class Publishing:
    """The request names the action that made the bundle, `private_action_id`, and the account that it stands in.
    Of other accounts' private bundles nothing is told, not even that there are some."""

    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        created = action.request["private_action_id"]
        row = await scene.reader.get(PRIVATE, created)
        if row is None or row["account_id"] != action.account_id:
            raise NotFound(f"action {created} has no private bundles", ErrorCode.CERTIFICATE_UNKNOWN)
        return Plan(
            ready=Ready(row["beef"], row["topics"], len(row["scripts"]), _change(row)),
            writes=[Delete(PRIVATE, created, expect={"txid": row["txid"]})],
            result={"bundles": len(row["scripts"])},
            touches=frozenset({row["account_id"]}),
        )


def handlers(_: RegistryGround) -> dict[Kind, Handler]:
    return {Kind.PUBLISH: Publishing()}


def _change(row: Document) -> FundCoin | None:
    if row["change"] is None:
        return None
    key_id, index = row["change"]
    subject = parse_envelope(row["beef"]).subject
    return FundCoin(Coin(subject.txid, index, subject.outputs[index]), key_id)
