"""Hostile submissions, each made from honest ones of a corpus. Every attack yields request bodies without end.

What is valid here is expensive to verify, and what is not valid is meant to be expensive to find out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import TypeAlias

from bench.bundles import Fleet
from bench.corpus import FUNDER, certificate_script
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder, p2pkh_lock, write_beef
from overlay.envelope import Envelope, parse_envelope
from overlay.transaction import Output, Transaction, outpoint
from overlay.varint import write_varint

Attack: TypeAlias = Callable[[Iterator[bytes]], Iterator[bytes]]

_SIGNER = P2pkhSigner(FUNDER)
_LOCK = p2pkh_lock(FUNDER.public)
_PUSHDATA4 = b"\x4e"
_OP_TRUE, _OP_DROP, _OP_2DROP, _OP_DUP, _OP_2DUP = b"\x51", b"\x75", b"\x6d", b"\x76", b"\x6e"
_OP_SHA256, _OP_CHECKSIG = b"\xa8", b"\xac"


class Ancestry:
    """An honest submission with unproven transactions put on top of its change."""

    def __init__(self, beef: bytes) -> None:
        envelope: Envelope = parse_envelope(beef)
        self.members: list[tuple[Transaction, bytes | None]] = [
            (member.transaction, member.bump.raw if member.bump else None) for member in envelope.ancestry()
        ]

    @property
    def tip(self) -> Transaction:
        return self.members[-1][0]

    def coin(self, index: int) -> Coin:
        return Coin(self.tip.txid, index, self.tip.outputs[index])

    def change(self) -> Coin:
        return self.coin(len(self.tip.outputs) - 1)

    def add(self, transaction: Transaction) -> None:
        self.members.append((transaction, None))

    def beef(self) -> bytes:
        return write_beef(self.members)


def _spend(coins: list[Coin], outputs: list[Output]) -> Transaction:
    builder = TransactionBuilder()
    for coin in coins:
        builder.spend(coin, _SIGNER)
    for output in outputs:
        builder.pay(output.satoshis, output.script)
    return builder.build()


def deep_chain(honest: Iterator[bytes], depth: int = 1500) -> Iterator[bytes]:
    """A valid chain of unproven ancestors, under ever new transactions."""
    ancestry = Ancestry(next(honest))
    for _ in range(depth):
        coin = ancestry.change()
        ancestry.add(_spend([coin], [Output(coin.output.satoshis - 1, _LOCK)]))
    yield from _tips(ancestry)


def diamonds(honest: Iterator[bytes], depth: int = 200) -> Iterator[bytes]:
    """Each transaction spends both outputs of the one before: 2^depth ways to the root."""
    ancestry = Ancestry(next(honest))
    change = ancestry.change()
    half = change.output.satoshis // 2 - 1
    ancestry.add(_spend([change], [Output(half, _LOCK), Output(half, _LOCK)]))
    for level in range(1, depth):
        both = [ancestry.coin(0), ancestry.coin(1)]
        ancestry.add(_spend(both, [Output(half - level, _LOCK), Output(half - level, _LOCK)]))
    yield from _tips(ancestry)


def large_script(honest: Iterator[bytes], size: int = 1_000_000) -> Iterator[bytes]:
    """Outputs of a megabyte, and spends of them that run the script."""
    push = _PUSHDATA4 + (size - 7).to_bytes(4, "little") + bytes(size - 7)
    yield from _tips(_locked(next(honest), push + _OP_2DROP + _OP_TRUE))


def hashing_script(honest: Iterator[bytes], rounds: int = 2_000) -> Iterator[bytes]:
    """A script within the size limit that hashes 200 kB over and over."""
    data = bytes(200_000)
    push = _PUSHDATA4 + len(data).to_bytes(4, "little") + data
    script = push + (_OP_DUP + _OP_SHA256 + _OP_DROP) * rounds + _OP_DROP + _OP_2DROP + _OP_TRUE
    yield from _tips(_locked(next(honest), script))


def many_sigops(honest: Iterator[bytes], checks: int = 5_000) -> Iterator[bytes]:
    """One input whose script checks a valid signature thousands of times."""
    script = (_OP_2DUP + _OP_CHECKSIG + _OP_DROP) * checks + _OP_2DROP + _OP_TRUE
    yield from _tips(_locked(next(honest), script))


def _locked(beef: bytes, script: bytes) -> Ancestry:
    """An honest submission's change, locked by `script`."""
    ancestry = Ancestry(beef)
    coin = ancestry.change()
    ancestry.add(_spend([coin], [Output(coin.output.satoshis - 1, script)]))
    return ancestry


def _tips(ancestry: Ancestry) -> Iterator[bytes]:
    """The ancestry under one transaction more, which is another one each time."""
    coin = ancestry.change()
    for number in count():
        tag = b"\x00\x6a\x08" + number.to_bytes(8, "little")
        tip = _spend([coin], [Output(0, tag), Output(coin.output.satoshis - 1, _LOCK)])
        yield write_beef([*ancestry.members, (tip, None)])


def thousand_outputs(honest: Iterator[bytes], outputs: int = 1_000) -> Iterator[bytes]:
    """A transaction of a thousand certificates of which each one looks issued, and none is: the signatures
    are for other outpoints. Every one is new to the node."""
    fleet = Fleet(99)
    scripts = [certificate_script(fleet, n, outpoint(bytes(32), n), n) for n in range(outputs)]
    for beef in honest:
        ancestry = Ancestry(beef)
        coin = ancestry.change()
        ancestry.add(_spend([coin], [Output(1, script) for script in scripts]))
        yield ancestry.beef()


def truncated(honest: Iterator[bytes]) -> Iterator[bytes]:
    """BEEFs that end anywhere, and BEEFs with bytes changed."""
    chance = random.Random(1)
    for beef in honest:
        yield beef[: chance.randrange(len(beef))]
        changed = bytearray(beef)
        for _ in range(3):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        yield bytes(changed)


def looping(honest: Iterator[bytes]) -> Iterator[bytes]:
    """BEEFs that name what is not there, repeat themselves, or count what they do not hold."""
    for beef in honest:
        ancestry = Ancestry(beef)
        parent, child = ancestry.members
        yield write_beef([child, parent, child])
        yield write_beef([parent, child, child])
        yield b"\x01\x01\x01\x01" + bytes(32) + beef
        yield b"\x02\x00\xbe\xef" + b"\x00" + write_varint(1) + b"\x02" + child[0].txid
        yield b"\x01\x00\xbe\xef" + write_varint(2**40) + beef
        yield b"\x01\x00\xbe\xef" + b"\x00" + write_varint(2**33) + beef
        yield write_beef([(child[0], None)])


def duplicates(honest: Iterator[bytes]) -> Iterator[bytes]:
    """One valid submission, again and again."""
    yield from repeat(next(honest))


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        deep_chain,
        diamonds,
        large_script,
        hashing_script,
        many_sigops,
        thousand_outputs,
        truncated,
        looping,
        duplicates,
    )
}
