"""Durable nonces: a transaction may name the nonce that an account holds in place of a recent blockhash.

LiteSVM derives new nonces from its one blockhash; here they follow the blocks' own, as on a real cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.transaction import VersionedTransaction

_SIZE: Final = 80
_CURRENT_INITIALIZED: Final = (1).to_bytes(4, "little") * 2
_AUTHORITY: Final = slice(8, 40)
_NONCE: Final = slice(40, 72)


def durable_nonce(blockhash: Hash) -> Hash:
    """The nonce that an account takes on in the block of this blockhash."""
    return Hash(sha256(b"DURABLE_NONCE" + bytes(blockhash)).digest())


def is_nonce(account: Account | None) -> bool:
    """Whether an account holds a nonce."""
    if account is None or account.owner != SYSTEM:
        return False
    data = account.data
    return len(data) == _SIZE and data[:8] == _CURRENT_INITIALIZED


def nonce_of(account: Account) -> Hash:
    return Hash(account.data[_NONCE])


def with_nonce(account: Account, nonce: Hash) -> Account:
    """The account with another nonce."""
    data = account.data[: _NONCE.start] + bytes(nonce) + account.data[_NONCE.stop :]
    return Account(account.lamports, data, account.owner, account.executable, account.rent_epoch)


def nonce_address(transaction: VersionedTransaction, keys: Sequence[Pubkey]) -> Pubkey | None:
    """The nonce account that the first instruction advances; None when it does not."""
    if not transaction.uses_durable_nonce():
        return None
    return keys[transaction.message.instructions[0].accounts[0]]


def may_use(transaction: VersionedTransaction, account: Account | None, block: Hash) -> bool:
    """Whether the transaction names what `account` holds, is signed by its authority, and is not of the
    same block (`block` is its blockhash) as the account's last change."""
    if account is None or not is_nonce(account):
        return False
    nonce, message = nonce_of(account), transaction.message
    signers = message.account_keys[: message.header.num_required_signatures]
    named = [message.account_keys[each] for each in message.instructions[0].accounts if each < len(signers)]
    authority = Pubkey(account.data[_AUTHORITY])
    return nonce == message.recent_blockhash and nonce != durable_nonce(block) and authority in named
