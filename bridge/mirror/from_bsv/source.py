"""BSV as the source of messages: certificates that were locked to the bridge.

    observed            a row of the inbox has all that a message's id is made of
    settle              the transaction's row, and its proof against the header chain
    validate            the token itself: whose issuance, where it is to go, whose it was
    check_still_final   both once more, before anything is signed

A message that waits for blocks is not looked at over and over: it sleeps, and `wake` calls it when the chain has
come to the height that it waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bridge.mirror.book import Page
from bridge.mirror.from_bsv.burial import confirmations_needed
from bridge.mirror.from_bsv.depth import Deep, Disputed, Gone, Verdict, Waits, know_headers, load_places, verdict_on
from bridge.mirror.from_bsv.locks import ExitLock, load_locks, load_previous
from bridge.mirror.from_bsv.sleepers import Sleepers
from bridge.mirror.ground import CHAIN, MirrorGround
from bridge.mirror.message import Message, Reason, message_id
from bridge.mirror.origin import chain_name
from bridge.mirror.pauses import Pauses
from bridge.mirror.states import Direction, Hold, Kind, State
from bridge.mirror.to_solana.wallets import against_account, against_address, load_wallets
from bridge.solana.rpc import AccountState
from store.port import Document

_GONE: Final = "the locked certificate is not held here any more"


class BsvSource:
    """`ports.Source` of the lane out, for one worker. What it remembers spares work; what it forgets is found."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._store = ground.store
        self._headers = ground.engine.headers
        self._pauses = Pauses(ground.store)
        self._sleepers = Sleepers(ground.store, ground.book, self._headers)

    async def wake(self) -> int:
        """Let the lane look at what waited for blocks that have come; how many messages. To be called before every
        round of the lane; while nothing was mined it costs nothing. Raises `Conflict` when messages changed
        meanwhile: they are woken by the next call."""
        return await self._sleepers.wake()

    async def observed(self, rows: Sequence[Document]) -> list[Message]:
        return [self._message(row) for row in rows]

    def _message(self, row: Document) -> Message:
        outpoint: bytes = row["_id"]
        asset = self._ground.asset
        return Message(
            id=message_id(
                src_genesis=self._ground.bsv_genesis,
                src_asset=row["issuance_id"].encode(),
                src_event=outpoint,
                dst_genesis=bytes(asset.genesis),
                dst_recipient=row["address"].encode(),
                units=row["units"],
            ),
            direction=Direction.OUT,
            kind=Kind.EXIT,
            asset=asset.name,
            units=row["units"],
            source_tx=outpoint[:32],
            source_event=outpoint,
            recipient=row["address"],
            created_ms=row["at_ms"],
        )

    # Finality

    async def settle(self, messages: Sequence[Message], page: Page) -> None:
        for message, verdict in await self._verdicts(messages):
            match verdict:
                case Deep():
                    page.move(message, State.SRC_FINAL, final_ms=page.now_ms)
                case Waits(height):
                    self._sleepers.put_to_sleep(message, height, page)
                case Gone():
                    page.move(message, State.SRC_ORPHANED)
                case Disputed(text):
                    page.hold(message, Hold.SOURCE_DISPUTED, text)

    async def _verdicts(self, messages: Sequence[Message]) -> list[tuple[Message, Verdict]]:
        if not messages:
            return []
        headers, bridge = self._headers, self._ground.bridge
        generation = headers.generation
        places = await load_places(self._store, [each.source_event for each in messages])
        await know_headers(places.values(), headers)
        told = [
            (each, verdict_on(places[each.source_event], confirmations_needed(each.wh, bridge), headers))
            for each in messages
        ]
        if headers.halted is None and generation == headers.generation:
            return told
        # The chain changed while the rows were read, or cannot be followed: nothing is final by such a picture.
        later = Waits(headers.tip_height + 1)
        return [(each, verdict if isinstance(verdict, Gone) else later) for each, verdict in told]

    async def check_still_final(self, messages: Sequence[Message], page: Page) -> list[Message]:
        """Those of messages that are about to be delivered (ACCOUNTED, DST_EXPIRED; no refunds) whose source is
        what it was when it became final. Of the others, one whose transaction lost depth is put off; one that its
        issuer withdrew meanwhile is HELD withdrawn; one whose source went is HELD source_lost, and both directions
        are paused."""
        locks = await self._locks(messages)
        stand, lost = [], []
        for message, verdict in await self._verdicts(messages):
            certificate = locks.get(message.source_event)
            match verdict:
                case Waits(height):
                    self._sleepers.put_to_sleep(message, height, page)
                case Gone(text) | Disputed(text):
                    lost.append((message, text))
                case _ if certificate is None:
                    lost.append((message, _GONE))
                case _ if certificate.withdrawn is not None:
                    page.hold(message, Hold.WITHDRAWN, _withdrawn(certificate.withdrawn))
                case _:
                    stand.append(message)
        await self._lose(lost, page)
        return stand

    async def _lose(self, lost: Sequence[tuple[Message, str]], page: Page) -> None:
        """A source that was final is no more: everything stops until a person has looked."""
        for message, text in lost:
            page.hold(message, Hold.SOURCE_LOST, text)
        if lost:
            message, text = lost[0]
            reason = f"the source of {message.id.hex()} went after it had been final: {text}"
            await self._pauses.pause_both(reason, page)

    # Validity

    async def validate(self, messages: Sequence[Message], page: Page) -> None:
        if not messages:
            return
        locks = await self._locks(messages)
        previous = await load_previous(self._store, locks)
        wallets = await load_wallets(self._ground.rpc, [each.recipient for each in messages])
        lost = []
        for message in messages:
            certificate = locks.get(message.source_event)
            if certificate is None:
                lost.append((message, _GONE))
                continue
            reason = self._against(message, certificate, wallets)
            facts = {**certificate.facts(previous.get(message.source_event)), **self._mirrors(certificate)}
            to = State.VALIDATED if reason is None else State.HELD
            page.move(message, to, reason=reason, facts=facts)
        await self._lose(lost, page)

    async def _locks(self, messages: Sequence[Message]) -> Mapping[bytes, ExitLock]:
        return await load_locks(self._store, [each.source_event for each in messages], self._ground.identity)

    def _mirrors(self, certificate: ExitLock) -> dict[str, str]:
        """The message that the certificate came by, as far as it names one of this cluster and asset."""
        origin, asset = certificate.origin, self._ground.asset
        if origin is None or origin.chain != chain_name(asset.genesis) or origin.asset != asset.name:
            return {}
        return {"origin": origin.message.hex()}

    def _against(
        self, message: Message, certificate: ExitLock, wallets: Mapping[str, AccountState | None]
    ) -> Reason | None:
        """Why the message is held. What the holder could not have meant comes first, what may pass last."""
        token, asset = certificate.token, self._ground.asset
        if not self._mirrors(certificate):
            return Reason(Hold.NOT_MIRRORED, f"its origin names no message of the asset {asset.name}")
        if token.bundle.energy_wh != message.wh:
            return Reason(Hold.NOT_MIRRORED, f"{token.bundle.energy_wh} Wh are more than a message may be of")
        if token.exit.get("chain") not in (CHAIN, chain_name(asset.genesis)):
            return Reason(Hold.CHAIN_MALFORMED, f"exit.chain is neither {CHAIN} nor {chain_name(asset.genesis)}")
        fault = against_address(message.recipient, asset) or against_account(wallets.get(message.recipient))
        if fault is not None:
            return Reason(Hold.ADDRESS_MALFORMED, fault)
        if certificate.withdrawn is not None:
            return Reason(Hold.WITHDRAWN, _withdrawn(certificate.withdrawn))
        return None


def _withdrawn(reason: str) -> str:
    return f"its issuer withdrew the certificate: {reason}"[:500]
