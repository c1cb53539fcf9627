"""Sending: a run of pieces becomes a transaction, which comes in through the node's one door."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import lru_cache
from typing import Any, Final, TypeAlias

from basket.funds import FundCoin, Funding, Treasury
from certificates.bundle import source_word
from certificates.policy import Scope
from config.errors import Internal
from energytag.compose import Composed, compose, first_outpoint, lay_out, satoshis_for
from energytag.forge import LEAST_ISSUES, Forge
from energytag.ground import RegistryGround
from energytag.packing import Run, origin_of
from energytag.plan import Issue, Made, Move, Piece, Plan, Ready
from energytag.private import keep_private
from energytag.records import BASKET
from energytag.signing import prepare
from overlay.steak import Steak
from store.port import Delete, Insert, Write
from topics.names import CERTIFICATES, certificate_topics

Alongside: TypeAlias = Callable[[str], Sequence[Write]]
"""Writes that join the admission, for the transaction's id in display hex."""
Joining: TypeAlias = Callable[[Composed], AbstractAsyncContextManager[Sequence[Write]]]
"""Entered when a transaction is signed, left when it was admitted or refused: gives the writes that join its
admission."""
Deliver: TypeAlias = Callable[[Made], Sequence[Write]]
"""Writes by which an output comes to a user's own wallet."""
_REMEMBERED: Final = 1024


class Sender:
    """Composes transactions, pays for them, and submits them."""

    def __init__(
        self, ground: RegistryGround, treasury: Treasury, deliver: Deliver, forge: Forge | None = None
    ) -> None:
        self._ground = ground
        self._treasury = treasury
        self._deliver = deliver
        self._forge = forge
        topics = ground.settings.topics
        self._scopes = [(each.name, each.scope) for each in certificate_topics(topics.sources, topics.regions)]
        self._topics = lru_cache(_REMEMBERED)(self._topics_of)

    def topics_of(self, piece: Piece) -> frozenset[str]:
        """The hosted topics that a piece's outputs are offered to."""
        return self.topics_for(*origin_of(piece))

    def topics_for(self, energy_source: str, country: str) -> frozenset[str]:
        """The hosted topics of certificates of a source and a country."""
        return self._topics(energy_source, country)

    def _topics_of(self, energy_source: str, country: str) -> frozenset[str]:
        return frozenset(name for name, scope in self._scopes if _takes(scope, energy_source, country))

    @staticmethod
    def awaits_signature(left: Iterable[tuple[int, Piece]]) -> bool:
        """Whether some coin that is still to be spent is in a user's own wallet."""
        return any(isinstance(piece, Move) and piece.holding.key_id is None for _, piece in left)

    async def prepare(self, plan: Plan) -> dict[str, Any]:
        """What a user's wallet is to sign, as JSON."""
        return (await prepare(self._ground, plan.pieces)).as_json()

    async def send(self, run: Run, alongside: Alongside) -> tuple[Made, ...]:
        """Make a run's transaction and have it admitted; what it made, output by output."""
        if run.shares[0].planned.plan.is_private:
            return await self._keep(run, alongside)

        def joining(composed: Composed) -> AbstractAsyncContextManager[Sequence[Write]]:
            return nullcontext(alongside(composed.transaction.txid_hex))

        return await self.send_pieces(run.pieces, run.topics, joining)

    async def send_pieces(
        self, pieces: Sequence[Piece], topics: Iterable[str], joining: Joining, spending: Sequence[bytes] = ()
    ) -> tuple[Made, ...]:
        """Make the transaction of some pieces, whoever wants them, and have it admitted; what it made, output by
        output. `spending` are coins for fees, by outpoint, that it must spend."""
        async with self._made(pieces, spending) as (composed, funding):
            async with joining(composed) as beside:
                await self._submit(pieces, topics, composed, funding, beside)
            self._treasury.settle(funding, composed.change)
        return composed.made

    @asynccontextmanager
    async def _made(
        self, pieces: Sequence[Piece], spending: Sequence[bytes] = ()
    ) -> AsyncIterator[tuple[Composed, Funding]]:
        """A signed transaction, and the coins that pay for it: they are given back when the block fails."""
        funding = await self._treasury.take(satoshis_for(pieces, self._treasury.fee_rate), spending)
        try:
            yield await self._compose(pieces, funding), funding
        except BaseException:
            self._treasury.give_back(funding)
            raise

    async def _compose(self, pieces: Sequence[Piece], funding: Funding) -> Composed:
        treasury, keyring = self._treasury, self._ground.keyring
        made = await self._lay_out(pieces, first_outpoint(pieces, funding))
        return compose(pieces, made, funding, treasury.change(), treasury.fee_rate, keyring)

    async def _lay_out(self, pieces: Sequence[Piece], spent: bytes) -> Sequence[Made]:
        """Many issuances are signed beside the event loop, everything else at once."""
        issues = [piece for piece in pieces if isinstance(piece, Issue)]
        if self._forge is not None and len(issues) == len(pieces) >= LEAST_ISSUES:
            made = await self._forge.issue(issues, spent)
            if made is not None:
                return made
        return lay_out(pieces, spent, self._ground.keyring)

    async def _submit(
        self,
        pieces: Sequence[Piece],
        topics: Iterable[str],
        composed: Composed,
        funding: Funding,
        beside: Sequence[Write],
    ) -> None:
        writes = self._writes(pieces, composed, funding, composed.change, beside)

        def checked(steak: Steak) -> Sequence[Write]:
            check_admitted(steak, len(composed.made), _moves(pieces))
            return writes

        await self._ground.engine.submit(composed.beef, self.named(topics), alongside=checked)

    async def submit_ready(self, ready: Ready, writes: Sequence[Write]) -> None:
        """Submit a transaction that was signed before, with writes that join its admission, or follow it where it
        was admitted already."""
        nothing = Funding(())
        joining = [*writes, *self._treasury.writes(nothing, ready.change)]
        joined = False

        def checked(steak: Steak) -> Sequence[Write]:
            nonlocal joined
            check_admitted(steak, ready.outputs)
            joined = True
            return joining

        steak = await self._ground.engine.submit(ready.beef, ready.topics, alongside=checked)
        if not joined:
            check_admitted(steak, ready.outputs)
            await self._ground.store.commit(joining)
        self._treasury.settle(nothing, ready.change)

    async def _keep(self, run: Run, alongside: Alongside) -> tuple[Made, ...]:
        """Sign, but submit nothing: the change stays out of use until the transaction is published."""
        async with self._made(run.pieces) as (composed, funding):
            beside = alongside(composed.transaction.txid_hex)
            writes = self._writes(run.pieces, composed, funding, None, beside)
            kept = keep_private(run.shares[0].planned.action, composed, self.named(run.topics))
            await self._ground.store.commit([*writes, kept])
            self._treasury.settle(funding, None)
        return composed.made

    @staticmethod
    def named(topics: Iterable[str]) -> list[str]:
        return sorted(topics)

    def _writes(
        self,
        pieces: Sequence[Piece],
        composed: Composed,
        funding: Funding,
        change: FundCoin | None,
        beside: Sequence[Write],
    ) -> list[Write]:
        # What an output brings may rest on what was decided, so the decision comes first.
        return [
            *beside,
            *self.output_writes(pieces, composed.made),
            *self._treasury.writes(funding, change),
        ]

    def output_writes(self, pieces: Sequence[Piece], made: Sequence[Made]) -> list[Write]:
        """The basket's rows, deliveries, and what the plans record of each output."""
        writes: list[Write] = []
        position = 0
        for piece in pieces:
            if isinstance(piece, Move):
                writes.append(Delete(BASKET, piece.holding.outpoint))
            elif isinstance(piece, Issue):
                writes += piece.record(made[position])
            position += piece.outputs
        for each in made:
            writes += self._received(each)
        return writes

    def _received(self, made: Made) -> Sequence[Write]:
        if made.holder is None or made.lock is None:
            return ()
        if not made.holder.is_custodial:
            return self._deliver(made)
        row = {
            "_id": made.outpoint,
            "account_id": made.holder.account_id,
            "key_id": made.lock.key_id,
            "sender": made.lock.sender,
        }
        return (Insert(BASKET, row),)


def check_admitted(steak: Steak, outputs: int, moves: int = 0) -> None:
    """`Internal` when a topic of this node's own would not take what the registry made: the first `outputs`
    outputs, in place of `moves` coins."""
    result = steak.get(CERTIFICATES)
    if result is None or result.outputs_to_admit != tuple(range(outputs)):
        raise Internal("the transaction has outputs that the node's own rules refuse")
    if len(result.coins_to_retain) != moves:
        raise Internal("the transaction would lose a certificate")


def _moves(pieces: Sequence[Piece]) -> int:
    return sum(isinstance(piece, Move) for piece in pieces)


def _takes(scope: Scope, energy_source: str, country: str) -> bool:
    return scope.source in (None, source_word(energy_source)) and scope.region in (None, country)
