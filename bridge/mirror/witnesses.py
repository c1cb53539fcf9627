"""Witnesses: further endpoints of the cluster, each of which must tell the same of a source as the first one.

    tells the same final transaction                                → agreed
    does not answer, or is not that far yet                         → wait
    is well past the slot, and does not know it at once             → wait, and ask again
    still does not know it a minute later, or forgot the slot       → disputed
    another slot, an error, other bytes, accounts, calls, balances  → disputed
    is of another cluster                                           → disputed

"Not found" is no proof, so it disputes nothing by itself; but nothing goes on without every witness's word either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import structlog
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.solana.rpc import SeenTransaction, SolanaRpc, TokenBalance
from bridge.watching.cursor import LAG_SLOTS
from config.errors import Unavailable
from overlay.clock import NowMs

ENOUGH_MS: Final = 60_000
"""So long after a transaction was read a witness must know it, if it is past its slot."""
_FETCHES_AT_ONCE: Final = 16
_FIRST_SILENCE_MS: Final = 500
_LONGEST_SILENCE_MS: Final = 30_000

log = structlog.get_logger("metawatt.mirror")


class Verdict(Enum):
    AGREED = auto()
    WAIT = auto()
    DISPUTED = auto()


@dataclass(frozen=True, slots=True)
class Opinion:
    """What witnesses say of a transaction, and for people why they do not agree."""

    verdict: Verdict
    text: str = ""


AGREED: Final = Opinion(Verdict.AGREED)


@dataclass(frozen=True, slots=True)
class Horizon:
    """What an endpoint can tell of: from its first slot to the newest final one."""

    first_slot: int
    final_slot: int


@dataclass(frozen=True, slots=True)
class Question:
    """A transaction as the first endpoint tells it, and how long ago it was read."""

    told: SeenTransaction
    age_ms: int


def differences(one: SeenTransaction, other: SeenTransaction) -> list[str]:
    """In what two endpoints' accounts of a final transaction differ, of all that a message rests on."""
    sides = {
        "its slot": (one.slot, other.slot),
        "its error": (one.error, other.error),
        "its bytes": (bytes(one.transaction.message), bytes(other.transaction.message)),
        "its accounts": (one.account_keys, other.account_keys),
        "what it called": (_called(one), _called(other)),
        "the balances before it": (_balances(one.pre_tokens), _balances(other.pre_tokens)),
        "the balances after it": (_balances(one.post_tokens), _balances(other.post_tokens)),
    }
    return [name for name, (first, second) in sides.items() if first != second]


def _called(seen: SeenTransaction) -> dict[int, list[tuple[int, tuple[int, ...], bytes]]]:
    """Inner instructions without their depth, which not every release of a node tells."""
    return {
        outer: [(each.program_index, each.accounts, each.data) for each in calls]
        for outer, calls in seen.inner.items()
        if calls
    }


def _balances(balances: Sequence[TokenBalance]) -> frozenset[tuple[Pubkey, Pubkey, int]]:
    return frozenset((each.account, each.mint, each.units) for each in balances)


def opinion_of(question: Question, answer: SeenTransaction | None, horizon: Horizon | None) -> Opinion:
    """One witness's word. `horizon` is that of a witness that does not know the transaction, None where it did not
    tell that either."""
    if answer is not None:
        differing = differences(question.told, answer)
        return Opinion(Verdict.DISPUTED, f"tells otherwise {', '.join(differing)}") if differing else AGREED
    if horizon is None or horizon.final_slot < question.told.slot + LAG_SLOTS:
        return Opinion(Verdict.WAIT, "is not that far")
    if question.age_ms < ENOUGH_MS:
        return Opinion(Verdict.WAIT, "does not know the transaction yet")
    if question.told.slot < horizon.first_slot:
        return Opinion(Verdict.DISPUTED, f"forgot slot {question.told.slot}")
    return Opinion(Verdict.DISPUTED, "does not know the transaction")


def together(opinions: Sequence[Opinion]) -> Opinion:
    """The word of all: disputed if one disputes, agreed if each agrees."""
    for verdict in (Verdict.DISPUTED, Verdict.WAIT):
        if texts := [each.text for each in opinions if each.verdict is verdict]:
            return Opinion(verdict, "; ".join(texts))
    return AGREED


class Witness:
    """One endpoint. One that does not answer is left alone for a while, each time for longer."""

    def __init__(self, name: str, rpc: SolanaRpc, genesis: Hash, now_ms: NowMs) -> None:
        self.name = name
        self._rpc = rpc
        self._genesis = genesis
        self._now_ms = now_ms
        self._is_known = False
        self._silent_until_ms = 0
        self._silence_ms = _FIRST_SILENCE_MS
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def opinions(
        self, questions: Mapping[Signature, Question], patience_secs: float
    ) -> dict[Signature, Opinion]:
        """Its word of each transaction, as far as it gave any in that time."""
        answers: dict[Signature, SeenTransaction | None] = {}
        horizon: Horizon | None = None
        if self._now_ms() < self._silent_until_ms:
            return self._said(questions, answers, horizon)
        try:
            async with asyncio.timeout(patience_secs):
                if not await self._is_of_this_cluster():
                    return dict.fromkeys(questions, self._named(Opinion(Verdict.DISPUTED, "is of another cluster")))
                await self._ask(questions, answers)
                if None in answers.values():
                    horizon = Horizon(await self._rpc.first_available_slot(), await self._rpc.slot())
            self._silence_ms = _FIRST_SILENCE_MS
        except (Unavailable, TimeoutError) as error:
            self._leave_alone(error)
        return self._said(questions, answers, horizon)

    async def _is_of_this_cluster(self) -> bool:
        self._is_known = self._is_known or await self._rpc.genesis_hash() == self._genesis
        return self._is_known

    async def _ask(
        self, signatures: Mapping[Signature, Question], answers: dict[Signature, SeenTransaction | None]
    ) -> None:
        """Each answer is kept as it comes, so that those which come in time count."""

        async def one(signature: Signature) -> None:
            async with self._fetches:
                answers[signature] = await self._rpc.transaction(signature)

        try:
            async with asyncio.TaskGroup() as group:
                for signature in signatures:
                    group.create_task(one(signature))
        except* Unavailable as group_error:
            raise Unavailable(str(group_error.exceptions[0])) from group_error

    def _leave_alone(self, error: BaseException) -> None:
        self._silent_until_ms = self._now_ms() + self._silence_ms
        self._silence_ms = min(2 * self._silence_ms, _LONGEST_SILENCE_MS)
        log.warning("a witness does not answer", witness=self.name, reason=str(error) or "it takes too long")

    def _said(
        self,
        questions: Mapping[Signature, Question],
        answers: Mapping[Signature, SeenTransaction | None],
        horizon: Horizon | None,
    ) -> dict[Signature, Opinion]:
        silent = self._named(Opinion(Verdict.WAIT, "does not answer"))
        return {
            signature: self._named(opinion_of(question, answers[signature], horizon))
            if signature in answers
            else silent
            for signature, question in questions.items()
        }

    def _named(self, opinion: Opinion) -> Opinion:
        return opinion if opinion is AGREED else Opinion(opinion.verdict, f"{self.name} {opinion.text}")


class Witnesses:
    """All of them; falsy where there are none."""

    def __init__(self, rpcs: Sequence[SolanaRpc], genesis: Hash, now_ms: NowMs) -> None:
        self._all = [Witness(f"witness {number}", rpc, genesis, now_ms) for number, rpc in enumerate(rpcs, 1)]

    def __bool__(self) -> bool:
        return bool(self._all)

    async def opinions(
        self, questions: Mapping[Signature, Question], patience_secs: float
    ) -> dict[Signature, Opinion]:
        """The word of all of each transaction."""
        said = await asyncio.gather(*(each.opinions(questions, patience_secs) for each in self._all))
        return {signature: together([one[signature] for one in said]) for signature in questions}
