"""`cancel`: retirement in favour of a beneficiary, who alone can claim it.

A beneficiary is an account of the registry, by its id or its exact name; an identity key outside, as 66 hex digits;
or any other name. A certificate that is cancelled for a key is locked to a child of it that everybody can
derive, so that everybody can check. For a mere name it stays locked to the account that cancels, and nobody in
the registry can claim it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final
from uuid import UUID

from certificates.document import Json
from certificates.lifecycle import FINAL_RESERVATION, Status
from certificates.ranges import Range
from certificates.successor import succeed
from certificates.token import OWNER_PROTOCOL, Token
from config.errors import BadRequest, ErrorCode, MetawattError
from energytag.accounts import account, holder_of
from energytag.actions import Action
from energytag.choosing import Against, Choice, Demand, StatusForbids, held_by
from energytag.ground import RegistryGround
from energytag.moving import Becomes, chosen, plan_moves, stands
from energytag.plan import Holder, Holding, Lock, Part, Plan, Scene
from energytag.records import ACCOUNTS
from overlay.keys import derive_for_anyone, is_public_key
from store.port import Find, Reader

_KEY: Final = re.compile(r"[0-9a-fA-F]{66}").fullmatch
_KEY_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Beneficiary:
    """Who can claim: what cancelled certificates become, and the account that they go to."""

    becomes: Becomes
    account_id: str


@dataclass(frozen=True, slots=True)
class Cancellations:
    """Active certificates, and Reserved ones whose reservation is not final."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        beneficiary = await self._beneficiary(action.request.get("beneficiary"), source, scene.reader)
        demand = Demand("be cancelled", frozenset({Status.ACTIVE, Status.RESERVED}), unless_final(source))
        choices = await chosen(action, scene, demand, self.ground)
        return await plan_moves(choices, beneficiary.becomes, source, [beneficiary.account_id])

    async def _beneficiary(self, named: str | None, source: Holder, reader: Reader) -> Beneficiary:
        if named is None:
            return await self._of_account(source.account_id, reader)
        if _KEY(named):
            return _of_key(bytes.fromhex(named), source)
        if _is_uuid(named):
            return await self._of_account(str(UUID(named)), reader)
        if (account_id := await account_named(named, reader)) is not None:
            return await self._of_account(account_id, reader)
        return Beneficiary(
            lambda _, part: stands(part, source, status=Status.CANCELLED, extras={"beneficiary": named}),
            source.account_id,
        )

    async def _of_account(self, account_id: str, reader: Reader) -> Beneficiary:
        holder = await holder_of(reader, self.ground.keyring, account_id)
        name = (await account(reader, account_id))["name"]

        def becomes(_: Choice, part: Range) -> Part:
            return Part(partial(_cancelled_for, part=part, holder=holder, name=name), holder, is_open=True)

        return Beneficiary(becomes, account_id)


def unless_final(holder: Holder) -> Against:
    """Held by that account, and not reserved for good."""
    held = held_by(holder)

    def against(holding: Holding) -> MetawattError | None:
        bundle = holding.token.bundle
        if bundle.status is Status.RESERVED and bundle.registry_configuration == FINAL_RESERVATION:
            return StatusForbids("a reservation is final under registry configuration 2")
        return held(holding)

    return against


async def account_named(name: str, reader: Reader) -> str | None:
    """The id of the one account of that exact name; INVALID_FIELD when there are several."""
    found = (await reader.find(ACCOUNTS, Find("name", {"name": name}, limit=2))).documents
    if len(found) > 1:
        raise BadRequest(f"several accounts are named {name!r}; give an account's id", ErrorCode.INVALID_FIELD)
    return str(found[0]["_id"]) if found else None


def open_key_id(outpoint: bytes, part: Range) -> str:
    """The key ID of a lock to a party outside, which the token states: a fresh one for each token."""
    place = outpoint + part.start.to_bytes(8, "big")
    return b64encode(sha256(place).digest()[:_KEY_ID_BYTES]).decode()


def _cancelled_for(token: Token, lock: Lock, *, part: Range, holder: Holder, name: str) -> Token:
    beneficiary = {"name": name, "identity_key": holder.identity.hex(), "key_id": lock.key_id}
    return _cancelled(token, lock, part=part, account_id=holder.account_id, beneficiary=beneficiary)


def _cancelled(token: Token, lock: Lock, *, part: Range, account_id: str, beneficiary: Mapping[str, Json]) -> Token:
    return succeed(
        token,
        lock.owner_key,
        status=Status.CANCELLED,
        part=part,
        account_id=account_id,
        extras={"beneficiary": dict(beneficiary)},
    )


def _of_key(identity: bytes, source: Holder) -> Beneficiary:
    """The token goes on naming the account that cancelled it, the last one of the registry that held it."""
    if not is_public_key(identity):
        raise BadRequest("beneficiary has the form of an identity key, but is none", ErrorCode.INVALID_FIELD)

    def becomes(choice: Choice, part: Range) -> Part:
        key_id = open_key_id(choice.holding.outpoint, part)
        owner_key = derive_for_anyone(identity, OWNER_PROTOCOL, key_id)
        beneficiary = {"identity_key": identity.hex(), "key_id": key_id}
        make = partial(_cancelled, part=part, account_id=source.account_id, beneficiary=beneficiary)
        return Part(make, owner_key=owner_key)

    return Beneficiary(becomes, source.account_id)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
