"""The Solana half of a receipt, checked offline.

The signatures over a transaction's message are checked, and what its own instructions say is decoded from the bytes
that were signed. Two things a receipt cannot prove, and says so: that the cluster executed the transaction (Solana
has no proof of inclusion that fits beside it, such as a Merkle path to a header with work; slot and finality are
the bridge's word), and what instructions did that other programs called, or that name accounts by lookup tables:
nobody signed those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey
from solders.transaction import SanitizeError, VersionedTransaction
from spl.memo.constants import MEMO_PROGRAM_ID

from bridge.mirror.from_solana.memos import bridge_memos, recipient_in, speaking_for
from bridge.mirror.receipts.findings import Findings
from bridge.mirror.receipts.receipt import Receipt
from bridge.mirror.receipts.statement import Marker, SolanaLeg
from bridge.mirror.states import Direction, Kind
from bridge.programs import instructions
from bridge.programs.instructions import Path, TokenInstruction, calls, decoded
from bridge.programs.marker import allocated
from bridge.programs.release import Crossing, crossing_marker, memo_text
from bridge.programs.tokens import associated_account
from bridge.solana.rpc import SeenTransaction

_TOKEN_KINDS: Final = {
    Kind.AUTOMATIC: (instructions.Kind.MINT,),
    Kind.DEPOSIT: (instructions.Kind.TRANSFER, instructions.Kind.MINT),
    Kind.BURN: (instructions.Kind.BURN,),
}


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction whose signatures hold. `own` are the accounts that the signatures name."""

    seen: SeenTransaction
    own: frozenset[Pubkey]

    def names(self, instruction: TokenInstruction) -> bool:
        """Whether the signatures name all accounts of an instruction."""
        accounts = (instruction.source, instruction.destination, instruction.authority)
        return all(each is None or each in self.own for each in accounts)


class SolanaAudit:
    """Checks of one receipt."""

    def __init__(self, receipt: Receipt, findings: Findings) -> None:
        self._receipt = receipt
        self._statement = receipt.statement
        self._message = receipt.statement.message
        self._asset = receipt.statement.asset
        self._findings = findings

    def custody(self) -> None:
        """Custody follows from its owner and the mint, so that tokens of no other mint can be in it."""
        asset = self._asset
        self._findings.proven(
            associated_account(asset.owner, asset.mint, asset.token_program) == asset.custody,
            f"custody {asset.custody} is the account of {asset.owner} for mint {asset.mint}",
        )

    # What a receipt may be about

    def came(self, leg: SolanaLeg) -> None:
        """Tokens that came into custody, or were burned."""
        name = "the source transaction"
        self._findings.proven(
            bytes(leg.signature) == self._message.source_tx, "the message is of an instruction of the source"
        )
        signed = self._signed(leg, name)
        if signed is None:
            return
        path = self._statement.path
        found = [each for each in decoded(signed.seen).instructions if each.path == path]
        if path.inner:
            self._findings.attested(
                f"instruction {path.text} of {name}, which another program called, moved {self._message.units} "
                "base units: nobody signed that"
            )
        elif self._findings.proven(len(found) == 1, f"instruction {path.text} of {name} moves tokens"):
            self._moved_in(found[0], signed, leg)
        self._recipient(signed, path)

    def paid(self, leg: SolanaLeg, marker: Marker | None) -> None:
        """Tokens that were released, minted again, or given back."""
        name = "the paying transaction"
        if marker is None:
            self._findings.failed("the receipt names no marker")
            return
        self._marker(marker)
        self._paid_to(leg)
        signed = self._signed(leg, name)
        if signed is None:
            return
        payments = self._payments(signed, marker)
        if payments is None:
            self._findings.failed(f"{name} does not make the marker")
        elif self._findings.proven(len(payments) == 1, f"{name} makes the marker, and one payment after it"):
            self._moved_out(payments[0], signed, leg)
        self._names_message(signed)

    # Sources

    def _moved_in(self, one: TokenInstruction, signed: Signed, leg: SolanaLeg) -> None:
        findings, asset, units = self._findings, self._asset, self._message.units
        findings.proven(one.kind in _TOKEN_KINDS.get(self._message.kind, ()), f"it is a {one.kind.value}")
        into = None if asset.mode == "burn" else asset.custody
        findings.proven(
            one.destination == into and one.source != asset.custody,
            "it burns tokens" if into is None else "it goes into custody",
        )
        # An account of custody's address is of this mint, whatever an unchecked transfer leaves open.
        is_mint = one.mint == asset.mint or (one.mint is None and one.destination == asset.custody)
        findings.proven(
            is_mint and one.program == asset.token_program, "it is of the mirrored mint", "it is of another mint"
        )
        findings.proven(one.units - one.fee == units, f"it is of {units} base units")
        findings.proven(one.source == leg.account, "it comes from the account that is stated")
        self._demand_named(one, signed)

    def _recipient(self, signed: Signed, path: Path) -> None:
        message = self._message
        if message.kind is Kind.AUTOMATIC:
            self._findings.attested(f"the meter whose reading was minted is of account {message.recipient}")
            return
        texts = speaking_for(path, bridge_memos(signed.seen))
        told = f"the memo names {message.recipient}" if message.recipient else "no one memo names a recipient"
        if path.inner and recipient_in(texts) != message.recipient:
            self._findings.attested(f"{told}: the instruction that moved the tokens called the memo, too")
            return
        self._findings.proven(recipient_in(texts) == message.recipient, told)

    # Destinations

    def _marker(self, marker: Marker) -> None:
        asset = self._asset
        seed, address = crossing_marker(asset.genesis, asset.mint, marker.base, self._statement.crossing_id)
        self._findings.proven(
            (marker.seed, marker.address) == (seed, address),
            f"marker {marker.address} follows from the {'refund' if self._statement.is_refund else 'message'}'s id",
        )

    def _paid_to(self, leg: SolanaLeg) -> None:
        message, asset = self._message, self._asset
        if message.direction is Direction.IN:
            source = self._statement.source
            back = source.account if isinstance(source, SolanaLeg) else None
            if back is None:
                self._findings.attested(
                    f"{leg.account} is the account of the wallet that the meter's tokens are for"
                )
                return
            self._findings.proven(leg.account == back, "the tokens go back to the account they came from")
            return
        try:
            wallet = Pubkey.from_string(message.recipient)
        except ValueError:
            self._findings.failed(f"the recipient {message.recipient} is no wallet")
            return
        self._findings.proven(
            associated_account(wallet, asset.mint, asset.token_program) == leg.account,
            f"{leg.account} is the account of {message.recipient} for the mint",
        )

    def _payments(self, signed: Signed, marker: Marker) -> list[TokenInstruction] | None:
        """Payments between the marker and the next one; None when the transaction does not make it."""
        outer = [call for call in calls(signed.seen) if call.path.inner == 0]
        made = [(call.path, address) for call in outer if (address := allocated(call)) is not None]
        starts = [index for index, (_, address) in enumerate(made) if address == marker.address]
        if len(starts) != 1 or marker.base not in signed.own:
            return None
        start = made[starts[0]][0]
        end = made[starts[0] + 1][0] if starts[0] + 1 < len(made) else Path(len(outer))
        return [each for each in decoded(signed.seen).instructions if start < each.path < end]

    def _moved_out(self, one: TokenInstruction, signed: Signed, leg: SolanaLeg) -> None:
        findings, asset, units = self._findings, self._asset, self._message.units
        is_mint = asset.mode == "burn"
        kind = instructions.Kind.MINT if is_mint else instructions.Kind.TRANSFER
        source, authority = (None, asset.mint_authority) if is_mint else (asset.custody, asset.owner)
        findings.proven(
            one.kind is kind and one.source == source and one.authority == authority,
            "it mints" if is_mint else "it pays out of custody, by custody's owner",
        )
        findings.proven(
            one.mint == asset.mint and one.program == asset.token_program,
            "it is of the mirrored mint",
            "it is of another mint",
        )
        findings.proven(one.destination == leg.account, "it goes to the account that is stated")
        findings.proven(one.units - one.fee == units, f"it is of {units} base units")
        self._demand_named(one, signed)

    def _names_message(self, signed: Signed) -> None:
        message = self._message
        outpoint = message.source_event if message.direction is Direction.OUT else None
        named = memo_text([Crossing(message.id, message.id, Pubkey.default(), None, 0, outpoint)])
        head, _, item = named.rpartition(":")
        memos = [call.data for call in calls(signed.seen) if call.program == MEMO_PROGRAM_ID]
        texts = [memo.decode(errors="replace") for memo in memos]
        is_named = any(text.startswith(f"{head}:") and item in text[len(head) + 1 :].split(",") for text in texts)
        self._findings.proven(is_named, f"its memo names {item}")

    # Transactions

    def _signed(self, leg: SolanaLeg, name: str) -> Signed | None:
        """The transaction, its signatures checked; None when the receipt does not hold it, or it is not sound."""
        raw = self._receipt.solana.get(str(leg.signature))
        if raw is None:
            self._findings.undecided(f"the receipt does not hold {name}, {leg.signature}")
            return None
        transaction = _parsed(raw)
        if transaction is None or not self._findings.proven(
            transaction.signatures[0] == leg.signature and all(transaction.verify_with_results()),
            f"the receipt holds {name}, {leg.signature}, and all who sign it signed it",
        ):
            if transaction is None:
                self._findings.failed(f"{name} is not a transaction")
            return None
        self._findings.attested(f"the cluster executed it in slot {leg.slot}, and it is final")
        own = tuple(transaction.message.account_keys)
        seen = SeenTransaction(
            signature=leg.signature,
            slot=leg.slot or 0,
            block_time=None,
            error=None,
            transaction=transaction,
            account_keys=(*own, *leg.loaded),
            logs=None,
            inner={},
            pre_tokens=(),
            post_tokens=(),
            fee=0,
        )
        return Signed(seen, frozenset(own))

    def _demand_named(self, one: TokenInstruction, signed: Signed) -> None:
        if not signed.names(one):
            self._findings.attested("its accounts came from lookup tables, as the bridge saw them")


def _parsed(raw: bytes) -> VersionedTransaction | None:
    """The transaction that these very bytes are, with a signature for each who is to sign."""
    try:
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
    except (ValueError, SanitizeError):
        return None
    required = transaction.message.header.num_required_signatures
    is_whole = bytes(transaction) == raw and 0 < required == len(transaction.signatures)
    return transaction if is_whole else None
