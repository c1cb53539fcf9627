"""Taking transactions: signatures, preflight, the faults on the way, landing; simulation; and the faucet."""

from __future__ import annotations

from typing import Any, Final

from solders.account import Account
from solders.compute_budget import set_compute_unit_limit
from solders.message import Message, from_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from bridge.cluster.chain import FINAL_SLOTS, Chain
from bridge.cluster.envelope import Envelope, check_signatures, opened
from bridge.cluster.executed import Simulated
from bridge.cluster.execution import inner_calls, return_data
from bridge.cluster.failures import ALREADY_PROCESSED, BLOCKHASH_NOT_FOUND, error_json, in_words
from bridge.cluster.faults import Faults
from bridge.cluster.keys import Keys
from bridge.cluster.refusals import AnswerLost, Malformed, PreflightFailed
from bridge.solana.rpc import Commitment
from config.errors import BadRequest, ErrorCode, Unavailable

_UNIT_LIMIT: Final = 200_000
_DISTINCT: Final = 1_000_000


class Sending:
    """What a node's sendTransaction, simulateTransaction and faucet do."""

    def __init__(self, chain: Chain, faults: Faults) -> None:
        self._chain = chain
        self._faults = faults
        self._airdrops = 0

    def send(self, raw: bytes, skip_preflight: bool, commitment: Commitment) -> Signature:
        envelope = opened(raw)
        check_signatures(envelope)
        self._check_storing()
        if not skip_preflight:
            self._preflight(envelope, commitment)
        self._take(envelope)
        if self._faults.loses_answer():
            raise AnswerLost
        return envelope.signature

    def _check_storing(self) -> None:
        """A chain whose blocks cannot be stored any more does not go on for long."""
        if self._chain.slots.tip - self._chain.durable > FINAL_SLOTS:
            raise Unavailable("the embedded cluster cannot store its blocks", ErrorCode.SOLANA_UNAVAILABLE)

    def _take(self, envelope: Envelope) -> None:
        """Land it, now or later, or not: as the faults say. What landed before does not land again."""
        is_dropped, late_slots = self._faults.drops(), self._faults.late_slots()
        if is_dropped:
            return
        if late_slots:
            self._chain.land_later(envelope, late_slots)
        else:
            self._chain.land(envelope)

    def _preflight(self, envelope: Envelope, commitment: Commitment) -> None:
        slot = self._chain.slot_at(commitment)
        keys = self._chain.keys(envelope, slot)
        error = self._refusal(envelope, keys, slot)
        simulated = _refused(slot, error) if error else self._simulated(envelope, keys, slot)
        if simulated.error is not None:
            raise PreflightFailed(f"Transaction simulation failed: {in_words(simulated.error)}", simulated)

    def _refusal(self, envelope: Envelope, keys: Keys, slot: int) -> str | None:
        """Why the block after that of `slot` would not take it, whatever it does."""
        landed = self._chain.known(envelope.signature)
        if landed is not None and landed[0] <= slot:
            return ALREADY_PROCESSED
        return None if self._chain.may_land(envelope, keys, slot) else BLOCKHASH_NOT_FOUND

    def simulate(self, raw: bytes, slot: int, *, sig_verify: bool, replace_blockhash: bool) -> Simulated:
        envelope = opened(raw)
        if sig_verify:
            check_signatures(envelope)
        keys = self._chain.keys(envelope, slot)
        error = None if replace_blockhash else self._refusal(envelope, keys, slot)
        if error is not None:
            return _refused(slot, error)
        return self._simulated(envelope, keys, slot, replace_blockhash=replace_blockhash)

    def _simulated(
        self, envelope: Envelope, keys: Keys, slot: int, *, replace_blockhash: bool = False
    ) -> Simulated:
        self._chain.prepare(keys)
        past = self._past(keys, slot)
        result = self._chain.runtime.simulate(envelope.transaction, past)
        meta = result.meta()
        named = self._chain.slots.named(slot) if replace_blockhash else None
        return Simulated(
            slot=slot,
            error=error_json(result.err()) if isinstance(result, FailedTransactionMetadata) else None,
            logs=tuple(meta.logs()),
            compute_units=meta.compute_units_consumed(),
            return_data=return_data(meta),
            inner=inner_calls(meta),
            fee=meta.fee(),
            accounts={} if isinstance(result, FailedTransactionMetadata) else dict(result.post_accounts()),
            blockhash=None if named is None else named.value,
            last_valid_block_height=None if named is None else named.last_valid_block_height,
        )

    def _past(self, keys: Keys, slot: int) -> dict[Pubkey, Account | None]:
        """Those of the accounts that changed after `slot`, as they were then."""
        past: dict[Pubkey, Account | None] = {}
        if slot < self._chain.slots.tip:
            for key in keys.all:
                was_changed, account = self._chain.undo.lookup(key, slot)
                if was_changed:
                    past[key] = account
        return past

    def fee_for(self, message: bytes, slot: int) -> int | None:
        try:
            parsed = from_bytes_versioned(message)
        except ValueError as error:
            raise Malformed(f"failed to deserialize VersionedMessage: {error}") from error
        count = parsed.header.num_required_signatures
        envelope = opened(bytes(VersionedTransaction.populate(parsed, [Signature.default()] * count)))
        keys = self._chain.keys(envelope, slot)
        if not self._chain.may_land(envelope, keys, slot):
            return None
        return self._simulated(envelope, keys, slot).fee

    def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        faucet = self._chain.header.faucet
        held = self._chain.runtime.account(faucet.pubkey())
        if held is None or not 0 < lamports < held.lamports:
            raise BadRequest("the faucet has not so many lamports")
        self._airdrops += 1
        # A limit of its own makes each airdrop a transaction of its own, also to one address in one slot.
        limit = set_compute_unit_limit(_UNIT_LIMIT + self._airdrops % _DISTINCT)
        payment = transfer(TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=address, lamports=lamports))
        blockhash = self._chain.slots.blockhash(self._chain.slots.tip)
        message = Message.new_with_blockhash([limit, payment], faucet.pubkey(), blockhash)
        envelope = opened(bytes(VersionedTransaction(message, [faucet])))
        self._take(envelope)
        return envelope.signature


def _refused(slot: int, error: Any) -> Simulated:
    return Simulated(slot, error, (), 0, None, (), 0, {})
