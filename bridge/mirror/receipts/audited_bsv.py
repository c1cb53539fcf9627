"""The BSV half of a receipt, checked with nothing but its bytes and trusted headers.

A transaction is proven by its Merkle path to a header with proof of work that the auditor trusts. What it says is
then as the chain has it; but that a certificate descends from its issuance, hop by hop, only a node that followed
it knows, and of that the receipt is a statement, no proof. An issuance needs no such word: its id follows from the
coin that it spends, and the issuer signed its origin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.mirror.from_bsv.exits import address_of, leaving_of
from bridge.mirror.from_solana.recipients import Account, parsed
from bridge.mirror.ground import CHAIN
from bridge.mirror.message import UNITS_PER_WH, Reason
from bridge.mirror.origin import chain_name, origin_of, read_origin
from bridge.mirror.receipts.findings import Findings
from bridge.mirror.receipts.receipt import BsvProof, Receipt
from bridge.mirror.receipts.statement import BsvLeg, SolanaLeg
from bridge.mirror.receipts.trusted_headers import Trust, TrustedHeaders
from certificates import ranges
from certificates.canonical import canonical
from certificates.lifecycle import Status
from certificates.rules import locked_to
from certificates.token import Token, issuance_id_for
from config.errors import MetawattError
from overlay.headers import check_work, parse_header
from overlay.keys import verify
from overlay.merkle import Bump, is_ambiguous_leaf
from overlay.sdk import hash256
from overlay.sighash import ALL_FORKID, sighash
from overlay.transaction import Output, Transaction, show_outpoint, split_outpoint
from topics.certificates import read_script
from topics.keychain import Keychain

_KEYS: Final = Keychain()


@dataclass(frozen=True, slots=True)
class Trusting:
    """What the auditor brings: headers, and whose certificates and receipts are expected; None for any."""

    headers: TrustedHeaders | None = None
    issuer: bytes | None = None
    bridge: bytes | None = None


class BsvAudit:
    """Checks of one receipt."""

    def __init__(self, receipt: Receipt, trusting: Trusting, findings: Findings) -> None:
        self._receipt = receipt
        self._statement = receipt.statement
        self._message = receipt.statement.message
        self._trusting = trusting
        self._findings = findings

    # What a receipt may be about

    def issued(self, leg: BsvLeg) -> None:
        """Certificates of a message from Solana."""
        found = self._transaction(leg.txid, "the issuing transaction")
        if found is None:
            return
        origin = origin_of(self._message, self._statement.asset.genesis)
        for issuance_id, index, wh in leg.certificates:
            self._certificate(found, issuance_id, index, wh, canonical(origin))
        self._complete(found, leg)

    def locked(self, leg: BsvLeg) -> tuple[Token, Output] | None:
        """The certificate that an exit began with, and its output; None when it is not there."""
        found = self._transaction(leg.txid, "the locking transaction")
        txid, index = split_outpoint(self._message.source_event)
        self._findings.proven(txid == leg.txid, "the message is of an output of the locking transaction")
        if found is None:
            return None
        token = _token(found, index)
        if token is None:
            self._findings.failed(f"output {index} of the locking transaction holds no certificate")
            return None
        self._is_locked(token)
        self._issuer(token, f"certificate {token.issuance_id}")
        self._findings.attested(
            "the locked certificate descends from its issuance, as the bridge's node followed it"
        )
        return token, found.outputs[index]

    def released_to_chain(self, token: Token) -> None:
        """That the locked certificate asked for this cluster, and mirrors one of its tokens."""
        genesis = self._statement.asset.genesis
        self._findings.proven(
            leaving_of(token).get("chain") in (CHAIN, chain_name(genesis)),
            "the certificate was to leave for this cluster",
        )
        origin = read_origin(token.origin)
        is_own = origin is not None and (origin.chain, origin.asset) == (
            chain_name(genesis),
            str(self._statement.asset.mint),
        )
        self._findings.proven(is_own, "under its issuer's signature it mirrors tokens of this mint")

    def completed(self, txid: bytes | None, token: Token, coin: Output) -> None:
        """The withdrawal of an exit's certificate, which names the transaction on Solana."""
        if txid is None:
            self._findings.failed("the receipt names no transaction that withdrew the certificate")
            return
        name = "the withdrawing transaction"
        found = self._transaction(txid, name, may_be_unproven=True)
        if found is None or not self._spends(found, token, coin, name):
            return
        released = self._statement.destination
        named = str(released.signature) if isinstance(released, SolanaLeg) else None
        parts = self._successors(found, token)
        says_so = [
            part.bundle.status is Status.WITHDRAWN and leaving_of(part).get("transaction") == named
            for part in parts
        ]
        self._findings.proven(
            _cover(parts, token) and all(says_so),
            "it withdraws the whole certificate, and names the transaction on Solana",
        )

    def given_back(self, leg: BsvLeg, token: Token, coin: Output) -> None:
        """The refund of an exit: the certificate is Active again."""
        name = "the refunding transaction"
        found = self._transaction(leg.txid, name)
        if found is None or not self._spends(found, token, coin, name):
            return
        parts = self._successors(found, token)
        is_active = all(part.bundle.status is Status.ACTIVE for part in parts)
        self._findings.proven(_cover(parts, token) and is_active, "it makes the whole certificate Active again")
        owner = leaving_of(token).get("owner")
        if owner is None:
            self._findings.attested("it went back to whom it had come from")
        else:
            is_owners = all(part.locking_key.hex() == owner for part in parts)
            self._findings.proven(is_owners, f"it is locked to {owner}, as the holder had demanded")

    # Certificates

    def _certificate(self, transaction: Transaction, issuance_id: str, index: int, wh: int, origin: bytes) -> None:
        token = _token(transaction, index)
        if token is None:
            self._findings.failed(f"output {index} holds no certificate")
            return
        first = transaction.inputs[0].outpoint
        is_issuance = token.issuance_id == issuance_id == issuance_id_for(first, index)
        is_whole = token.bundle.range == token.issued and token.bundle.quantity == token.issued.quantity
        self._findings.proven(
            is_issuance and is_whole and token.bundle.status is Status.ACTIVE,
            f"output {index} issues certificate {issuance_id}",
        )
        self._findings.proven(token.bundle.energy_wh == wh, f"it is of {wh} Wh")
        self._findings.proven(
            canonical(token.origin) == origin, "its origin is this message", "its origin is another message"
        )
        self._holder(token)
        self._issuer(token, f"certificate {issuance_id}")

    def _holder(self, token: Token) -> None:
        """That it went to whom the message names, as far as a lock tells whose it is."""
        wanted, account_id = parsed(self._message.recipient), str(token.bundle.attributes["account_id"])
        if isinstance(wanted, Reason):
            self._findings.failed(f"the message names no recipient: {wanted.text}")
        elif isinstance(wanted, Account):
            self._findings.proven(
                account_id == wanted.account_id,
                f"it is in account {wanted.account_id}",
                f"it is in account {account_id}, and not in {wanted.account_id}",
            )
        elif isinstance(token.note, dict) and locked_to(token, wanted.identity, token.note.get("key_id"), _KEYS):
            self._findings.proven(True, f"it is locked to the key {wanted.identity.hex()}")
        else:
            self._findings.attested(f"account {account_id}, which it is in, has the key {wanted.identity.hex()}")

    def _complete(self, transaction: Transaction, leg: BsvLeg) -> None:
        """Nothing more than is told was issued for the message, and it is all that crossed."""
        told = {index for _, index, _ in leg.certificates}
        found = set()
        for index in range(len(transaction.outputs)):
            token = _token(transaction, index)
            origin = None if token is None else read_origin(token.origin)
            if origin is not None and origin.message == self._message.id:
                found.add(index)
        self._findings.proven(
            found == told and len(told) == len(leg.certificates),
            "the transaction issues these certificates for the message, and no others",
        )
        total = sum(wh for _, _, wh in leg.certificates)
        self._findings.proven(
            total * UNITS_PER_WH == self._message.units,
            f"together they are the {total} Wh that crossed",
            f"together they are {total} Wh, and {self._message.units} base units crossed",
        )

    def _is_locked(self, token: Token) -> None:
        message, findings = self._message, self._findings
        findings.proven(
            token.bundle.status is Status.LOCKED
            and locked_to(token, self._statement.bridge, leaving_of(token).get("key_id"), _KEYS),
            f"{show_outpoint(message.source_event)} is a certificate that is locked to the bridge",
        )
        findings.proven(token.issuance_id == self._statement.source_asset, "it is of the issuance that is stated")
        findings.proven(
            address_of(token) == message.recipient,
            f"its holder asked for tokens to {message.recipient or 'nobody'}",
        )
        wh = token.bundle.energy_wh
        is_whole = token.bundle.quantity == token.bundle.range.quantity
        findings.proven(
            is_whole and wh * UNITS_PER_WH == message.units,
            f"it is of {wh} Wh, as crossed",
            f"it is of {wh} Wh, and {message.units} base units crossed",
        )

    def _issuer(self, token: Token, name: str) -> None:
        is_signed = _KEYS.issuer_signed(token.issuer_key, token.signed_text, token.signature, token.issuance_id)
        issuer = token.issuer_key.hex()
        if not self._findings.proven(is_signed, f"issuer {issuer} signed {name}"):
            return
        if self._trusting.issuer is not None:
            self._findings.proven(token.issuer_key == self._trusting.issuer, f"{issuer} is the issuer expected")
        elif token.issuer_key == self._statement.bridge:
            self._findings.attested(f"the issuer is the bridge, {issuer}")
        else:
            self._findings.attested(f"{issuer} is an issuer that the bridge trusts")

    def _spends(self, transaction: Transaction, token: Token, coin: Output, name: str) -> bool:
        """Whether it spends the locked certificate, by the key that it was locked to."""
        outpoint = self._message.source_event
        places = [index for index, spent in enumerate(transaction.inputs) if spent.outpoint == outpoint]
        is_signed = bool(places) and _is_unlocked(transaction, places[0], token, coin)
        return self._findings.proven(is_signed, f"{name} spends the locked certificate, signed by the bridge's key")

    def _successors(self, transaction: Transaction, token: Token) -> list[Token]:
        """Tokens in place of the certificate: the same issuance, under the same signature."""
        found = (_token(transaction, index) for index in range(len(transaction.outputs)))
        return [
            each
            for each in found
            if each is not None
            and each.issuance_id == token.issuance_id
            and each.signed_text == token.signed_text
            and each.bundle.range.overlaps(token.bundle.range)
        ]

    # Transactions

    def _transaction(self, txid: bytes, name: str, *, may_be_unproven: bool = False) -> Transaction | None:
        """The transaction, with what proves it checked; None when the receipt does not hold it."""
        shown = txid[::-1].hex()
        proof = self._receipt.bsv.get(shown)
        if proof is None:
            self._findings.failed(f"the receipt does not hold {name}, {shown}")
            return None
        is_it = hash256(proof.raw) == txid and not is_ambiguous_leaf(len(proof.raw))
        if not self._findings.proven(is_it, f"the receipt holds {name}, {shown}"):
            return None
        self._stands(txid, proof, name, may_be_unproven=may_be_unproven)
        try:
            return Transaction.parse(proof.raw)
        except MetawattError as error:
            self._findings.failed(f"{name} cannot be read: {error.message}")
            return None

    def _stands(self, txid: bytes, proof: BsvProof, name: str, *, may_be_unproven: bool) -> None:
        if proof.path is None and proof.header is None and proof.height is None:
            told = f"{name} was in no block yet when the receipt was handed out"
            (self._findings.attested if may_be_unproven else self._findings.undecided)(told)
        elif proof.path is None or proof.height is None:
            self._findings.failed(f"{name} has half a proof")
        elif proof.header is None:
            self._findings.undecided(f"the receipt has no header of block {proof.height}, which {name} stands in")
        else:
            self._in_block(txid, proof.path, proof.header, proof.height, name)

    def _in_block(self, txid: bytes, path: bytes, header: bytes, height: int, name: str) -> None:
        try:
            bump = Bump.parse_whole(path)
            # The smallest path, as it is always written: of any other a part could be changed, and prove the same.
            is_smallest = bump.extract(txid) == path
            root = bump.root_for(txid)
            parsed = parse_header(header, height)
        except (MetawattError, ValueError) as error:
            self._findings.failed(f"{name} is not proven: {error}")
            return
        self._findings.proven(
            is_smallest and bump.height == height and root == parsed.merkle_root,
            f"its Merkle path leads to block {parsed.hash[::-1].hex()}, height {height}",
        )
        try:
            check_work(parsed)
        except MetawattError:
            self._findings.failed(f"the header of block {height} has less work than it states")
            return
        self._trusted(header, height)

    def _trusted(self, header: bytes, height: int) -> None:
        if self._trusting.headers is None:
            self._findings.undecided(f"the header of block {height} is not confirmed: give trusted headers")
            return
        judged = self._trusting.headers.judge(header, height)
        if judged is Trust.UNKNOWN:
            self._findings.undecided(f"the header of block {height} is not confirmed: {judged.value}")
        else:
            self._findings.proven(
                judged is Trust.CONFIRMED, f"block {height} is trusted", f"block {height}: {judged.value}"
            )


def bsv_txids(receipt: Receipt) -> Iterator[str]:
    """The transactions on BSV that a receipt names, display hex."""
    statement = receipt.statement
    for leg in (statement.source, statement.destination):
        if isinstance(leg, BsvLeg):
            yield leg.txid[::-1].hex()
    if receipt.completion is not None:
        yield receipt.completion[::-1].hex()


def _token(transaction: Transaction, index: int) -> Token | None:
    """The certificate at an output; None where there is none."""
    if index >= len(transaction.outputs):
        return None
    found = read_script(transaction.outputs[index].script)
    return found if isinstance(found, Token) else None


def _is_unlocked(transaction: Transaction, index: int, token: Token, coin: Output) -> bool:
    """Whether an input's script is one signature by the key that the coin is locked to, over the whole
    transaction."""
    script = transaction.inputs[index].unlocking_script
    if len(script) < 2 or script[0] != len(script) - 1:
        return False
    signature, flags = script[1:-1], script[-1]
    return flags == ALL_FORKID and verify(signature, sighash(transaction, index, coin), token.locking_key)


def _cover(parts: Sequence[Token], token: Token) -> bool:
    """Whether the parts' ranges make up the token's, without overlap."""
    found = [part.bundle.range for part in parts]
    return ranges.disjoint(found) and ranges.merge(found) == [token.bundle.range]
