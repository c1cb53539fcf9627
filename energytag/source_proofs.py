"""Proofs that certificates were given up in the registry that they come from.

A proof is a BEEF with the whole life of the certificates on chain, from their issuance to the tokens that are
Cancelled, or Reserved for good, in favour of this registry. Every transaction in it carries its Merkle path, which
is held against the node's own headers; then the transactions are judged one after the other by the very rules of
the certificate topics, with the issuers that this node trusts. A copy of a token that nobody was entitled to make
is not admitted, and proves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from certificates.admission import Judgement, Placed, View
from certificates.document import Json
from certificates.lifecycle import FINAL_RESERVATION, Status
from certificates.policy import EVERYTHING, Policy
from certificates.ranges import Range
from certificates.token import Token
from config.errors import BadRequest, ErrorCode
from overlay.envelope import Envelope, EnvelopeLimits, Member, parse_envelope
from overlay.transaction import outpoint
from overlay.verify import Roots, check_proof
from topics.certificates import read_script
from topics.keychain import Keychain

_STEPS_A_TURN: Final = 32


class ProofInvalid(BadRequest):
    """The proof does not prove what is imported."""

    default_code = ErrorCode.PROOF_INVALID


class Headers(Roots, Protocol):
    """The node's header chain."""

    async def ensure(self, heights: Collection[int]) -> None: ...


@dataclass(slots=True)
class _Life:
    """Tokens by outpoint, as far as the transactions have been judged: those that live, and what each was."""

    live: dict[bytes, Token] = field(default_factory=dict)

    async def go_on(self, member: Member, policy: Policy) -> None:
        """Judge the next transaction: what it spends is gone, what is admitted lives."""
        transaction = member.transaction
        coins = [
            Placed(index, 1, self.live.pop(spent.outpoint))
            for index, spent in enumerate(transaction.inputs)
            if spent.outpoint in self.live
        ]
        outputs = list(_tokens(member))
        judgement = Judgement(View(transaction.inputs[0].outpoint, outputs, coins), policy, Keychain(), EVERYTHING)
        for number, _ in enumerate(judgement.steps(), 1):
            if number % _STEPS_A_TURN == 0:
                await asyncio.sleep(0)
        tokens = {placed.index: placed.content for placed in outputs}
        for index in judgement.verdict().outputs_to_admit:
            token = tokens[index]
            if isinstance(token, Token):
                self.live[outpoint(transaction.txid, index)] = token


def _tokens(member: Member) -> Iterator[Placed]:
    for index, output in enumerate(member.transaction.outputs):
        content = read_script(output.script)
        if content is not None:
            yield Placed(index, output.satoshis, content)


async def tokens_in(beef: bytes, headers: Headers, policy: Policy, limits: EnvelopeLimits) -> dict[bytes, Token]:
    """The certificates that a BEEF proves and leaves unspent, by outpoint (36 bytes).

    `ProofInvalid` when it cannot be read, or a transaction in it is not in the chain that this node follows;
    `Unavailable` when that cannot be found out now.
    """
    try:
        envelope = parse_envelope(beef, limits)
        members = list(envelope.members.values())
        await headers.ensure([member.bump.height for member in members if member.bump is not None])
        for member in members:
            if member.bump is None:
                raise ProofInvalid(f"transaction {member.transaction.txid_hex} comes without its Merkle path")
            check_proof(member, headers)
    except BadRequest as error:
        raise ProofInvalid(f"the proof cannot be taken: {error.message}") from None
    life = _Life()
    for member in parents_first(envelope):
        await life.go_on(member, policy)
    return life.live


def parents_first(envelope: Envelope) -> list[Member]:
    """All members of an envelope, each after those that it spends from."""
    order: list[Member] = []
    placed: set[bytes] = set()
    stack = list(envelope.members)
    while stack:
        txid = stack[-1]
        waits = [
            spent.source_txid
            for spent in envelope.members[txid].transaction.inputs
            if spent.source_txid in envelope.members and spent.source_txid not in placed
        ]
        if waits and txid not in placed:
            stack += waits
            continue
        stack.pop()
        if txid not in placed:
            placed.add(txid)
            order.append(envelope.members[txid])
    return order


def given_up_for(token: Token, registry: Collection[str]) -> bool:
    """Whether a token was given up in favour of a registry, which goes by these names: cancelled with it as the
    beneficiary, or reserved for it where no reservation is ever undone."""
    match token.bundle.status:
        case Status.CANCELLED:
            return _names(token.beneficiary) & set(registry) != set()
        case Status.RESERVED:
            is_final = token.bundle.registry_configuration == FINAL_RESERVATION
            return is_final and _target(token.extras.get("reservation")) in registry
    return False


def _names(beneficiary: Json) -> set[str]:
    if isinstance(beneficiary, str):
        return {beneficiary}
    if isinstance(beneficiary, Mapping):
        return {value for value in (beneficiary.get("name"), beneficiary.get("identity_key")) if type(value) is str}
    return set()


def _target(reservation: Json) -> str | None:
    target = reservation.get("target_registry") if isinstance(reservation, Mapping) else None
    return target if isinstance(target, str) else None


def find_proven(
    tokens: Mapping[bytes, Token], registry: Collection[str], wanted: Sequence[tuple[str, Range]]
) -> list[Token]:
    """For each issuance id and range the token that proves it; `ProofInvalid` names the first row without."""
    proven = {
        (token.issuance_id, token.bundle.range): token for token in tokens.values() if given_up_for(token, registry)
    }
    found = []
    for row, (issuance_id, part) in enumerate(wanted, 1):
        token = proven.get((issuance_id, part))
        if token is None:
            raise ProofInvalid(
                f"row {row}: the proof shows no certificates {part} of issuance {issuance_id} that were "
                "cancelled, or finally reserved, for this registry"
            )
        found.append(token)
    return found
