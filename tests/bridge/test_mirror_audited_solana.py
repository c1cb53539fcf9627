"""The Solana half of a receipt, with transactions made for it: what signatures prove, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import AllocateWithSeedParams, allocate_with_seed
from solders.transaction import VersionedTransaction
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID

from bridge.mirror.ground import Asset
from bridge.mirror.message import Message, solana_event
from bridge.mirror.receipts.audited_solana import SolanaAudit
from bridge.mirror.receipts.findings import Check, Findings, Outcome, overall
from bridge.mirror.receipts.receipt import Receipt
from bridge.mirror.receipts.statement import BsvLeg, Marker, SolanaLeg, Statement
from bridge.mirror.states import Direction, Kind, State
from bridge.programs.instructions import Path
from bridge.programs.release import crossing_marker
from bridge.programs.tokens import associated_account, mint_to_checked, transfer_checked

PAYER, OWNER, WALLET = Keypair(), Pubkey.new_unique(), Pubkey.new_unique()
MINT, GENESIS = Pubkey.new_unique(), Hash.new_unique()
CUSTODY = associated_account(OWNER, MINT, TOKEN_PROGRAM_ID)
SOURCE = associated_account(PAYER.pubkey(), MINT, TOKEN_PROGRAM_ID)
ASSET = Asset(GENESIS, MINT, TOKEN_PROGRAM_ID, 9, OWNER, CUSTODY, "lock", OWNER)
UNITS = 5_000_000
OUTER = Path(0)
RECIPIENT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"


def memo(text: str) -> Instruction:
    return Instruction(MEMO_PROGRAM_ID, text.encode(), [])


def transfer(
    units: int = UNITS, *, mint: Pubkey = MINT, source: Pubkey = SOURCE, destination: Pubkey = CUSTODY
) -> Instruction:
    return transfer_checked(TOKEN_PROGRAM_ID, source, mint, destination, PAYER.pubkey(), units, 9)


def unchecked(destination: Pubkey = CUSTODY) -> Instruction:
    """A transfer that names no mint."""
    accounts = [
        AccountMeta(SOURCE, is_signer=False, is_writable=True),
        AccountMeta(destination, is_signer=False, is_writable=True),
        AccountMeta(PAYER.pubkey(), is_signer=True, is_writable=False),
    ]
    return Instruction(TOKEN_PROGRAM_ID, bytes([3]) + UNITS.to_bytes(8, "little"), accounts)


def by_a_program() -> Instruction:
    """A call of a program that may call others."""
    accounts = [AccountMeta(CUSTODY, is_signer=False, is_writable=True)]
    return Instruction(Pubkey.new_unique(), b"swap", accounts)


def made(
    instructions: Sequence[Instruction], tables: Sequence[AddressLookupTableAccount] = ()
) -> VersionedTransaction:
    message = MessageV0.try_compile(PAYER.pubkey(), list(instructions), list(tables), Hash.default())
    return VersionedTransaction(message, [PAYER])


def came(
    transaction: VersionedTransaction, *, path: Path = OUTER, raw: bytes | None = None, **changes: Any
) -> list[Check]:
    """What an audit finds of a deposit of this transaction."""
    signature = transaction.signatures[0]
    loaded = changes.pop("loaded", ())
    message = Message(
        id=bytes(32),
        direction=Direction.IN,
        kind=Kind.DEPOSIT,
        asset=ASSET.name,
        units=UNITS,
        source_tx=bytes(signature),
        source_event=solana_event(bytes(signature), path.packed()),
        recipient=RECIPIENT,
        created_ms=0,
    )
    leg = SolanaLeg(signature, 7, SOURCE, loaded)
    receipt = _receipt(
        replace(message, **changes), leg, BsvLeg(bytes(32)), bytes(transaction) if raw is None else raw
    )
    findings = Findings()
    SolanaAudit(receipt, findings).came(leg)
    return findings.checks


def _receipt(message: Message, source: Any, destination: Any, raw: bytes, marker: Marker | None = None) -> Receipt:
    statement = Statement(
        bytes(33), bytes(32), ASSET, message, ASSET.name, State.RECEIPTED, source, destination, marker, (), 0
    )
    leg = source if isinstance(source, SolanaLeg) else destination
    return Receipt(statement, b"", {str(leg.signature): raw} if raw else {}, {})


def failed(checks: Sequence[Check]) -> str:
    return "; ".join(check.text for check in checks if check.outcome is Outcome.FAILED)


def attested(checks: Sequence[Check]) -> str:
    return "; ".join(check.text for check in checks if check.outcome is Outcome.ATTESTED)


@pytest.mark.parametrize("instruction", [transfer(), unchecked()])
def test_what_the_transaction_itself_says_is_proven(instruction: Instruction) -> None:
    checks = came(made([instruction, memo(f"gwx1:{RECIPIENT}")]))
    assert overall(checks) is Outcome.OK
    assert attested(checks) == "the cluster executed it in slot 7, and it is final"


def test_what_another_program_called_is_attested() -> None:
    checks = came(made([by_a_program(), memo(f"gwx1:{RECIPIENT}")]), path=Path(0, 2))
    assert overall(checks) is Outcome.OK
    assert "instruction 0.2.0 of the source transaction, which another program called" in attested(checks)


def test_a_memo_that_the_program_called_is_attested_too() -> None:
    checks = came(made([by_a_program()]), path=Path(0, 2))
    assert f"the memo names {RECIPIENT}" in attested(checks)


def test_accounts_of_lookup_tables_are_attested() -> None:
    table = AddressLookupTableAccount(Pubkey.new_unique(), [CUSTODY, MINT])
    transaction = made([transfer(), memo(f"gwx1:{RECIPIENT}")], [table])
    loaded = (CUSTODY, MINT)
    assert overall(came(transaction, loaded=loaded)) is Outcome.OK
    assert "lookup tables" in attested(came(transaction, loaded=loaded))
    assert "moves tokens" in failed(came(transaction))


@pytest.mark.parametrize(
    ("instructions", "told"),
    [
        ([transfer(mint=Pubkey.new_unique()), memo(f"gwx1:{RECIPIENT}")], "it is of another mint"),
        ([transfer(destination=WALLET), memo(f"gwx1:{RECIPIENT}")], "goes into custody"),
        ([unchecked(WALLET), memo(f"gwx1:{RECIPIENT}")], "it is of another mint"),
        ([transfer(source=CUSTODY), memo(f"gwx1:{RECIPIENT}")], "goes into custody"),
        ([transfer(source=WALLET), memo(f"gwx1:{RECIPIENT}")], "it comes from the account that is stated"),
        ([transfer(UNITS - 1), memo(f"gwx1:{RECIPIENT}")], "it is of 5000000 base units"),
        ([transfer(), memo("gwx1:somebody")], "the memo names"),
        ([transfer()], "the memo names"),
        ([transfer(), memo(f"gwx1:{RECIPIENT}"), memo("gwx1:somebody")], "the memo names"),
        ([memo(f"gwx1:{RECIPIENT}"), transfer()], "instruction 0.0.0 of the source transaction moves tokens"),
    ],
)
def test_a_source_that_is_not_what_is_stated(instructions: list[Instruction], told: str) -> None:
    assert told in failed(came(made(instructions)))


def test_a_mint_of_a_readings_token_is_of_the_meters_account() -> None:
    minted = mint_to_checked(TOKEN_PROGRAM_ID, MINT, CUSTODY, PAYER.pubkey(), UNITS, 9)
    checks = came(made([minted]), kind=Kind.AUTOMATIC)
    assert f"is of account {RECIPIENT}" in attested(checks)
    assert failed(checks) == "not so: it comes from the account that is stated"  # the kit's leg has one
    assert "it is a transfer" in failed(came(made([transfer()]), kind=Kind.AUTOMATIC))


def test_signatures_that_do_not_hold() -> None:
    good = made([transfer(), memo(f"gwx1:{RECIPIENT}")])
    bad = bytearray(bytes(good))
    bad[-5] ^= 1  # of the memo
    assert "all who sign it signed it" in failed(came(good, raw=bytes(bad)))
    other = made([transfer(1), memo(f"gwx1:{RECIPIENT}")])
    assert "all who sign it signed it" in failed(came(good, raw=bytes(other)))


@pytest.mark.parametrize("raw", [b"\0", b"\xff" * 100, b"\1" + bytes(64) + b"\x80", bytes(300)])
def test_what_is_no_transaction(raw: bytes) -> None:
    assert "is not a transaction" in failed(came(made([transfer()]), raw=raw))


def test_a_transaction_with_more_behind_it_is_none() -> None:
    good = made([transfer(), memo(f"gwx1:{RECIPIENT}")])
    assert "is not a transaction" in failed(came(good, raw=bytes(good) + b"\0"))


def test_a_transaction_that_is_not_there_leaves_it_open() -> None:
    checks = came(made([transfer()]), raw=b"")
    assert overall(checks) is Outcome.UNDECIDED


# Releases


def _released(*instructions: Instruction, base: Pubkey | None = None, units: int = UNITS) -> list[Check]:
    """What an audit finds of an exit's release by a transaction of these instructions."""
    transaction = made(instructions)
    base = base or PAYER.pubkey()
    message = Message(
        id=bytes(32),
        direction=Direction.OUT,
        kind=Kind.EXIT,
        asset=ASSET.name,
        units=units,
        source_tx=bytes(32),
        source_event=bytes(36),
        recipient=str(WALLET),
        created_ms=0,
    )
    seed, address = crossing_marker(GENESIS, MINT, base, message.id)
    marker = Marker(address, base, seed)
    leg = SolanaLeg(transaction.signatures[0], 7, associated_account(WALLET, MINT, TOKEN_PROGRAM_ID))
    receipt = _receipt(message, BsvLeg(bytes(32)), leg, bytes(transaction), marker)
    receipt = replace(receipt, statement=replace(receipt.statement, asset=replace(ASSET, owner=PAYER.pubkey())))
    findings = Findings()
    SolanaAudit(receipt, findings).paid(leg, marker)
    return findings.checks


def _allocation(message_id: bytes = bytes(32), base: Pubkey | None = None) -> Instruction:
    base = base or PAYER.pubkey()
    seed, address = crossing_marker(GENESIS, MINT, base, message_id)
    return allocate_with_seed(
        AllocateWithSeedParams(address=address, base=base, seed=seed, space=0, owner=MEMO_PROGRAM_ID)
    )


def _payment(units: int = UNITS, wallet: Pubkey = WALLET) -> Instruction:
    account = associated_account(wallet, MINT, TOKEN_PROGRAM_ID)
    return transfer_checked(TOKEN_PROGRAM_ID, CUSTODY, MINT, account, PAYER.pubkey(), units, 9)


NOTE = memo(f"gwx1:release:{'00' * 32}.0")


def test_a_release_is_proven_among_others() -> None:
    other = _allocation(b"\1" * 32)
    assert failed(_released(other, _payment(7), _allocation(), _payment(), NOTE)) == ""
    assert failed(_released(_allocation(), _payment(), other, _payment(7), NOTE)) == ""


@pytest.mark.parametrize(
    ("instructions", "told"),
    [
        ((_payment(), NOTE), "does not make the marker"),
        ((_allocation(b"\1" * 32), _payment(), NOTE), "does not make the marker"),
        ((_payment(), _allocation(), NOTE), "one payment after it"),
        ((_allocation(), _payment(), _payment(1), NOTE), "one payment after it"),
        ((_allocation(), _allocation(b"\1" * 32), _payment(), NOTE), "one payment after it"),
        ((_allocation(), _payment(UNITS + 1), NOTE), "it is of 5000000 base units"),
        ((_allocation(), _payment(wallet=OWNER), NOTE), "it goes to the account that is stated"),
        ((_allocation(), transfer(), NOTE), "it pays out of custody"),
        ((_allocation(), _payment()), "its memo names"),
        ((_allocation(), _payment(), memo("gwx1:release:00.0")), "its memo names"),
    ],
)
def test_a_release_that_is_not_what_is_stated(instructions: tuple[Instruction, ...], told: str) -> None:
    assert told in failed(_released(*instructions))
