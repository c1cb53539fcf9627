"""What the cluster keeps and tells of a transaction, a block and a simulation.

What is stored of a transaction is these structures, as arrays: fields may be added at their ends only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.solana.rpc import Commitment


class TokenHolding(Struct, frozen=True, array_like=True):
    """What a token account of a transaction held before or after it; `account` indexes into its keys."""

    account: int
    mint: Pubkey
    owner: Pubkey
    program: Pubkey
    units: int
    decimals: int


class InnerCall(Struct, frozen=True, array_like=True):
    """An instruction that a program called; indexes are into the transaction's keys."""

    program: int
    accounts: bytes
    data: bytes
    stack_height: int


class ReturnData(Struct, frozen=True, array_like=True):
    program: Pubkey
    data: bytes


class Executed(Struct, frozen=True, array_like=True):
    """A transaction that landed, successful or failed.

    `error` is Solana's own JSON (`"AccountInUse"`, `{"InstructionError": [0, {"Custom": 1}]}`), None when it
    succeeded. `keys` are the message's account keys, then the writable and the readonly ones of lookup tables
    (`loaded_writable` and `loaded_readonly` of them). `inner` pairs an outer instruction's index with what it
    called. Lamports are by key. `memo` is as getSignaturesForAddress shows it, None without one. `block_time`
    is epoch seconds, `index` the place within the block.
    """

    signature: Signature
    slot: int
    index: int
    block_time: int
    raw: bytes
    error: Any
    keys: tuple[Pubkey, ...]
    loaded_writable: int
    loaded_readonly: int
    logs: tuple[str, ...]
    inner: tuple[tuple[int, tuple[InnerCall, ...]], ...]
    fee: int
    compute_units: int
    pre_lamports: tuple[int, ...]
    post_lamports: tuple[int, ...]
    pre_tokens: tuple[TokenHolding, ...]
    post_tokens: tuple[TokenHolding, ...]
    return_data: ReturnData | None
    memo: str | None
    changed: tuple[Pubkey, ...]
    """The accounts that it changed, created or closed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an address's history."""

    signature: Signature
    slot: int
    block_time: int
    error: Any
    memo: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """Of a transaction that landed. `confirmations` is None once it is final."""

    slot: int
    error: Any
    commitment: Commitment
    confirmations: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its transactions in order. `parent` is the slot of the block before it."""

    slot: int
    parent: int
    height: int
    blockhash: Hash
    previous_blockhash: Hash
    block_time: int
    transactions: tuple[Executed, ...]


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a transaction would do. `accounts` are those that it would change, as they would be; `blockhash`
    and `last_valid_block_height` are told when the simulation put a recent one in."""

    slot: int
    error: Any
    logs: tuple[str, ...]
    compute_units: int
    return_data: ReturnData | None
    inner: tuple[tuple[int, tuple[InnerCall, ...]], ...]
    fee: int
    accounts: dict[Pubkey, Account]
    blockhash: Hash | None = None
    last_valid_block_height: int | None = None


@dataclass(frozen=True, slots=True)
class Forked:
    """What a fork did: `slots` were undone and are skipped for ever; of their transactions `replayed` landed
    again in `slot`, `vanished` did not (dropped, or their blockhash was of the abandoned branch)."""

    base: int
    slots: tuple[int, ...]
    slot: int
    replayed: tuple[Signature, ...]
    vanished: tuple[Signature, ...]
