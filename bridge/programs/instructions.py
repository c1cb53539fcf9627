"""What a transaction told the token programs to do: mints, burns and transfers, decoded from its instructions.

SPL Token and Token-2022 share numbers and account orders. SPL Token also takes a batch: byte 255, then
`[accounts u8][length u8][data]` again and again, each part with the next accounts of the instruction. It
leaves neither logs of its parts nor inner instructions, so that it is found here or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from bridge.solana.rpc import SeenTransaction

TOKEN_PROGRAMS: Final = frozenset({TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID})

_BATCH: Final = 255
_FEE_EXTENSION: Final = 26
_TRANSFER_WITH_FEE: Final = 1
_INITIALIZE_ACCOUNT: Final = (1, 16, 18)
"""In its three spellings; of each the first accounts are the token account and its mint."""


class Kind(StrEnum):
    MINT = "mint"
    BURN = "burn"
    TRANSFER = "transfer"


class Path(NamedTuple):
    """Where an instruction is in its transaction; paths sort in the order in which instructions began.

    `inner` is 0 for the outer instruction itself, n for the nth that it called; `batch` is 0 for an
    instruction of its own, n for the nth part of a batch. All fit into 16 bits.
    """

    outer: int
    inner: int = 0
    batch: int = 0

    def packed(self) -> bytes:
        """6 B that sort as paths do."""
        return b"".join(part.to_bytes(2, "big") for part in self)

    @classmethod
    def unpacked(cls, raw: bytes) -> Path:
        """From its 6 B."""
        return cls(*(int.from_bytes(raw[at : at + 2], "big") for at in (0, 2, 4)))

    @property
    def text(self) -> str:
        """`outer.inner.batch`, for people."""
        return ".".join(map(str, self))


@dataclass(frozen=True, slots=True)
class TokenInstruction:
    """`units` are base units; of a transfer, before the fee that the mint withholds. `fee` is that fee where
    the instruction names it. A mint has no `source`, a burn no `destination`. `mint` is None for an unchecked
    transfer between accounts of which the transaction tells nothing else."""

    kind: Kind
    path: Path
    program: Pubkey
    mint: Pubkey | None
    source: Pubkey | None
    destination: Pubkey | None
    authority: Pubkey
    units: int
    fee: int = 0


@dataclass(frozen=True, slots=True)
class Malformed:
    """An instruction to a token program that cannot be read; the program would have refused it, too."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """In the order of their paths."""

    instructions: tuple[TokenInstruction, ...]
    malformed: tuple[Malformed, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """An instruction with its accounts looked up."""

    path: Path
    program: Pubkey
    accounts: tuple[Pubkey, ...]
    data: bytes


class _Unreadable(Exception):
    """Why an instruction cannot be read."""


def token_instructions(seen: SeenTransaction) -> list[TokenInstruction]:
    """The mints, burns and transfers that took effect, in order; none of a transaction that failed."""
    return list(decoded(seen).instructions)


def decoded(seen: SeenTransaction) -> Decoded:
    """`token_instructions`, with those that could not be read."""
    if seen.error is not None:
        return Decoded((), ())
    found: list[TokenInstruction] = []
    malformed: list[Malformed] = []
    mints = {balance.account: balance.mint for balance in seen.pre_tokens}
    for call in calls(seen, malformed):
        if call.program in TOKEN_PROGRAMS:
            _decode_call(call, mints, found, malformed)
    return Decoded(_with_mints(seen, found), tuple(malformed))


def calls(seen: SeenTransaction, malformed: list[Malformed] | None = None) -> Iterator[Call]:
    """Every instruction of a transaction, outer and inner, in order. Those whose indexes point outside of the
    transaction's accounts are left out, and added to `malformed`."""
    keys = seen.account_keys
    for outer, instruction in enumerate(seen.transaction.message.instructions):
        shapes = [(instruction.program_id_index, tuple(instruction.accounts), bytes(instruction.data))]
        shapes += [(inner.program_index, inner.accounts, inner.data) for inner in seen.inner.get(outer, ())]
        for inner, (program, accounts, data) in enumerate(shapes):
            path = Path(outer, inner)
            if max((program, *accounts)) < len(keys) and min((program, *accounts)) >= 0:
                yield Call(path, keys[program], tuple(keys[index] for index in accounts), data)
            elif malformed is not None:
                malformed.append(Malformed(path, "An account is not of the transaction"))


def _decode_call(
    call: Call, mints: dict[Pubkey, Pubkey], found: list[TokenInstruction], malformed: list[Malformed]
) -> None:
    """`mints` are those of token accounts at this point of the transaction, as far as they are known. One that is
    made and closed within it is in none of its balances, and one may be closed and made again for another mint."""
    parts = _batch_parts(call, malformed) if call.data[:1] == bytes([_BATCH]) else [call]
    for part in parts:
        if part.data[:1] and part.data[0] in _INITIALIZE_ACCOUNT and len(part.accounts) > 1:
            mints[part.accounts[0]] = part.accounts[1]
        try:
            if (instruction := _decode(part)) is not None:
                found.append(replace(instruction, mint=instruction.mint or _mint_of(instruction, mints)))
        except _Unreadable as unreadable:
            malformed.append(Malformed(part.path, str(unreadable)))


def _batch_parts(call: Call, malformed: list[Malformed]) -> Iterator[Call]:
    rest, accounts, number = call.data[1:], call.accounts, 0
    while rest:
        number += 1
        path = call.path._replace(batch=number)
        if len(rest) < 2 or len(rest) < 2 + rest[1] or len(accounts) < rest[0]:
            malformed.append(Malformed(path, "The batch is cut short"))
            return
        account_count, end = rest[0], 2 + rest[1]
        yield Call(path, call.program, accounts[:account_count], rest[2:end])
        rest, accounts = rest[end:], accounts[account_count:]


def _decode(call: Call) -> TokenInstruction | None:
    """None for instructions that move no tokens."""
    number = call.data[0] if call.data else None
    if number == _FEE_EXTENSION:
        return _transfer_with_fee(call) if call.data[1:2] == bytes([_TRANSFER_WITH_FEE]) else None
    if number == _BATCH:
        raise _Unreadable("A batch within a batch")
    reader = _READERS.get(number) if number is not None else None
    return reader(call) if reader else None


def _mint(call: Call) -> TokenInstruction:
    mint, destination, authority = _accounts(call, 3)
    return TokenInstruction(
        Kind.MINT, call.path, call.program, mint, None, destination, authority, _units(call.data[1:])
    )


def _burn(call: Call) -> TokenInstruction:
    source, mint, authority = _accounts(call, 3)
    return TokenInstruction(
        Kind.BURN, call.path, call.program, mint, source, None, authority, _units(call.data[1:])
    )


def _transfer(call: Call) -> TokenInstruction:
    source, destination, authority = _accounts(call, 3)
    return TokenInstruction(
        Kind.TRANSFER, call.path, call.program, None, source, destination, authority, _units(call.data[1:])
    )


def _transfer_checked(call: Call) -> TokenInstruction:
    source, mint, destination, authority = _accounts(call, 4)
    return TokenInstruction(
        Kind.TRANSFER, call.path, call.program, mint, source, destination, authority, _units(call.data[1:])
    )


def _transfer_with_fee(call: Call) -> TokenInstruction:
    """Data: 26, 1, amount u64, decimals u8, fee u64."""
    fee = _units(call.data[11:])
    return replace(_transfer_checked(replace(call, data=call.data[1:])), fee=fee)


_READERS: Final[dict[int, Callable[[Call], TokenInstruction]]] = {
    3: _transfer,
    7: _mint,
    8: _burn,
    12: _transfer_checked,
    14: _mint,
    15: _burn,
}


def _accounts(call: Call, count: int) -> Sequence[Pubkey]:
    """More may follow: the signers of a multisig, those of a transfer hook."""
    if len(call.accounts) < count:
        raise _Unreadable(f"{len(call.accounts)} accounts, {count} are needed")
    return call.accounts[:count]


def _units(data: bytes) -> int:
    if len(data) < 8:
        raise _Unreadable("The amount is cut short")
    return int.from_bytes(data[:8], "little")


def _with_mints(seen: SeenTransaction, found: list[TokenInstruction]) -> tuple[TokenInstruction, ...]:
    """Unchecked transfers name no mint: it is that of either account, from balances or other instructions."""
    if all(instruction.mint is not None for instruction in found):
        return tuple(found)
    mints = {balance.account: balance.mint for balance in (*seen.pre_tokens, *seen.post_tokens)}
    for instruction in found:
        for account in (instruction.source, instruction.destination):
            if instruction.mint is not None and account is not None:
                mints.setdefault(account, instruction.mint)
    return tuple(
        instruction if instruction.mint is not None else replace(instruction, mint=_mint_of(instruction, mints))
        for instruction in found
    )


def _mint_of(instruction: TokenInstruction, mints: dict[Pubkey, Pubkey]) -> Pubkey | None:
    accounts = (instruction.source, instruction.destination)
    return next((mints[account] for account in accounts if account in mints), None)
