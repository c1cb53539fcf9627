"""Material for the verification tests: keys, blocks as verification sees them, and envelopes over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from config.errors import BadRequest, ErrorCode
from overlay.builder import ALL_FORKID, P2pkhSigner, Sighasher, make_transaction, p2pkh_lock, write_beef
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.merkle import MerkleTree
from overlay.sdk import hash256
from overlay.transaction import Input, Output, Transaction
from overlay.verify import VerifyLimits, prepare, run

KEY = PrivateKey.from_int(4711)
LOCK = p2pkh_lock(KEY.public)
SIGNER = P2pkhSigner(KEY)
FINAL = 0xFFFF_FFFF

Member = tuple[Transaction, bytes | None]


class Blocks:
    """Merkle roots by height: all that verification asks of a chain."""

    def __init__(self, tip_height: int = 1000) -> None:
        self.tip_height = tip_height
        self.roots: dict[int, bytes] = {}

    def root_at(self, height: int) -> bytes | None:
        return self.roots.get(height)

    def mine(self, *transactions: Transaction, height: int = 10, others: int = 3) -> list[Member]:
        """A block of `others` transactions that do not matter, and then these; each with its BUMP."""
        fillers = [hash256(height.to_bytes(4, "little") + bytes((n,))) for n in range(others)]
        txids = fillers + [transaction.txid for transaction in transactions]
        tree = MerkleTree(txids)
        self.roots[height] = tree.root
        return [(one, tree.bump(others + index, height)) for index, one in enumerate(transactions)]


def funding(satoshis: Sequence[int] = (10_000,), mark: int = 1, lock: bytes = LOCK) -> Transaction:
    """A transaction out of nowhere, to be mined. Each `mark` makes another one."""
    spent = Input(hash256(mark.to_bytes(8, "little")), 0, b"\x51", FINAL)
    return make_transaction([spent], [Output(value, lock) for value in satoshis])


def coinbase(height: int, satoshis: int = 5_000) -> Transaction:
    spent = Input(bytes(32), FINAL, b"\x04" + height.to_bytes(4, "little"), FINAL)
    return make_transaction([spent], [Output(satoshis, LOCK)])


def pay(parent: Transaction, *values: int, spends: Sequence[int] = (0,), lock: bytes = LOCK) -> Transaction:
    """A P2PKH spend of a parent's outputs."""
    return pay_from([(parent, index) for index in spends], *values, lock=lock)


def pay_from(sources: Sequence[tuple[Transaction, int]], *values: int, lock: bytes = LOCK) -> Transaction:
    """Signed, whatever the values are."""
    coins = [(Input(parent.txid, index, b"", FINAL), parent.outputs[index]) for parent, index in sources]
    outputs = [Output(value, lock) for value in values]
    hasher = Sighasher(make_transaction([spent for spent, _ in coins], outputs))
    digests = [hasher.digest(index, source) for index, (_, source) in enumerate(coins)]
    signed = [
        spent._replace(unlocking_script=SIGNER.unlock(digest, ALL_FORKID))
        for (spent, _), digest in zip(coins, digests, strict=True)
    ]
    return make_transaction(signed, outputs)


def unlock(parent: Transaction, script: bytes, value: int = 1, index: int = 0) -> Transaction:
    """A spend of one output by this very unlocking script."""
    return make_transaction([Input(parent.txid, index, script, FINAL)], [Output(value, LOCK)])


def beef(members: Sequence[Member], version: Literal[1, 2] = 1, subject: Transaction | None = None) -> bytes:
    return write_beef(members, version, subject.txid if subject else None)


def judge(data: bytes, blocks: Blocks, limits: VerifyLimits | None = None) -> ErrorCode | None:
    """Parse and verify whole, scripts and all: the code of the refusal, None when it is valid."""
    try:
        for job in prepare(parse_envelope(data), blocks, limits or VerifyLimits()):
            run(job)
    except BadRequest as refusal:
        return refusal.code
    return None
