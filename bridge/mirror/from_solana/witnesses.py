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
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.mirror.from_solana.endpoint import Endpoint, Horizon, Told
from bridge.solana.rpc import SeenTransaction, SolanaRpc, TokenBalance
from bridge.watching.cursor import LAG_SLOTS
from overlay.clock import NowMs

ENOUGH_MS: Final = 60_000
"""So long after a transaction was read a witness must know it, if it is past its slot."""

_REMEMBERED: Final = 1024
"""Transactions that were agreed upon last; more than a batch of a lane."""


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
class Question:
    """A transaction as the first endpoint tells it, and how long ago it was read."""

    told: SeenTransaction
    age_ms: int


def differences(one: SeenTransaction, other: SeenTransaction) -> list[str]:
    """In what two endpoints' accounts of a final transaction differ, of all that a message rests on."""
    sides = {
        "its slot": (one.slot, other.slot),
        "its error": (one.error, other.error),
        "its bytes": (bytes(one.transaction), bytes(other.transaction)),
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
    """The word of a witness that answered. `horizon` is that of one that does not know the transaction, None where
    it did not tell that either."""
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


class Witnesses:
    """All of them; falsy where there are none."""

    def __init__(self, rpcs: Sequence[SolanaRpc], genesis: Hash, now_ms: NowMs) -> None:
        self._all = [Endpoint(f"witness {number}", rpc, genesis, now_ms) for number, rpc in enumerate(rpcs, 1)]
        self._agreed: OrderedDict[Signature, SeenTransaction] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def silent(self) -> list[str]:
        """The names of those that did not answer when they were asked last."""
        return [each.name for each in self._all if each.is_silent]

    async def opinions(
        self, questions: Mapping[Signature, Question], patience_secs: float
    ) -> dict[Signature, Opinion]:
        """The word of all of each transaction. Those that were agreed upon lately are not asked for again."""
        found = dict.fromkeys(questions, AGREED)
        asked = {each: question for each, question in questions.items() if not self._was_agreed(each, question)}
        if not asked:
            return found
        told = await asyncio.gather(*(each.told(asked, patience_secs) for each in self._all))
        said = [(witness.name, each) for witness, each in zip(self._all, told, strict=True)]
        for signature, question in asked.items():
            found[signature] = together([_named(name, _opinion(signature, question, each)) for name, each in said])
            if found[signature] is AGREED:
                self._remember(question.told)
        return found

    def _was_agreed(self, signature: Signature, question: Question) -> bool:
        known = self._agreed.get(signature)
        return known is not None and not differences(known, question.told)

    def _remember(self, seen: SeenTransaction) -> None:
        self._agreed[seen.signature] = seen
        if len(self._agreed) > _REMEMBERED:
            self._agreed.popitem(last=False)


def _opinion(signature: Signature, question: Question, told: Told) -> Opinion:
    if told.is_foreign:
        return Opinion(Verdict.DISPUTED, "is of another cluster")
    if signature not in told.transactions:
        return Opinion(Verdict.WAIT, "does not answer")
    return opinion_of(question, told.transactions[signature], told.horizon)


def _named(name: str, opinion: Opinion) -> Opinion:
    return opinion if opinion is AGREED else Opinion(opinion.verdict, f"{name} {opinion.text}")
