"""Mutated envelopes against the parser and the verifier: declared errors only, within bounded memory.

    python -m bench.fuzz_envelopes [--mutations 1000000] [--seed 1]

Valid envelopes of every form are bent, byte by byte and part by part, and each mutant is parsed and verified,
scripts and all. It must be refused with a declared code, or be valid indeed: every transaction that it
stands on is known to be valid, or the SDK's own parser and its VM in Python find it so. Ends with status 1
when anything else happens.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from config.errors import BadRequest, ErrorCode
from overlay import pushdrop
from overlay.builder import ALL_FORKID, P2pkhSigner, Sighasher, make_transaction, p2pkh_lock
from overlay.envelope import ATOMIC, BEEF_V1, BEEF_V2, Envelope, parse_envelope
from overlay.keys import PrivateKey
from overlay.merkle import MerkleTree
from overlay.sdk import hash160, hash256, load_sdk
from overlay.transaction import Input, Output, Transaction, outpoint
from overlay.varint import read_varint, write_varint
from overlay.verify import VerifyLimits, prepare, run

DECLARED = frozenset(
    {
        ErrorCode.ENVELOPE_MALFORMED,
        ErrorCode.ENVELOPE_TOO_LARGE,
        ErrorCode.SUBJECT_MISSING,
        ErrorCode.ANCESTOR_MISSING,
        ErrorCode.MERKLE_PATH_INVALID,
        ErrorCode.MERKLE_ROOT_UNKNOWN,
        ErrorCode.COINBASE_IMMATURE,
        ErrorCode.VALUE_NOT_CONSERVED,
        ErrorCode.SCRIPT_INVALID,
        ErrorCode.SCRIPT_TOO_COSTLY,
        ErrorCode.DOUBLE_SPEND,
    }
)
MOST_GROWTH_MIB = 64
ADDRESS_SPACE_MIB = 1024
TIP_HEIGHT = 1000

KEY, OTHER = PrivateKey.from_int(4711), PrivateKey.from_int(815)
LOCK = p2pkh_lock(KEY.public)
SIGNER = P2pkhSigner(KEY)
FINAL = 0xFFFF_FFFF


@dataclass(slots=True)
class Draft:
    """An envelope in parts, before it is written. An entry without raw bytes is a txid alone (V2)."""

    version: bytes
    bumps: list[bytes]
    entries: list[tuple[bytes, int | None]]
    subject: bytes | None = None

    def write(self) -> bytes:
        parts = [ATOMIC + self.subject] if self.subject is not None else []
        parts += [self.version, write_varint(len(self.bumps)), *self.bumps, write_varint(len(self.entries))]
        parts += [self._entry(raw, bump) for raw, bump in self.entries]
        return b"".join(parts)

    def _entry(self, raw: bytes, bump: int | None) -> bytes:
        if self.version == BEEF_V2:
            if len(raw) == 32:
                return b"\x02" + raw
            return (b"\x00" if bump is None else b"\x01" + write_varint(bump)) + raw
        return raw + (b"\x00" if bump is None else b"\x01" + write_varint(bump))

    def copy(self) -> Draft:
        return replace(self, bumps=list(self.bumps), entries=list(self.entries))


@dataclass(slots=True)
class Ground:
    """What is true: the roots of the chain, which transactions it holds, and which others are valid."""

    tip_height: int = TIP_HEIGHT
    roots: dict[int, bytes] = field(default_factory=dict)
    mined: set[tuple[bytes, int]] = field(default_factory=set)
    valid: set[bytes] = field(default_factory=set)

    def root_at(self, height: int) -> bytes | None:
        return self.roots.get(height)

    def mine(self, height: int, transactions: list[Transaction], others: int) -> list[bytes]:
        """Put transactions behind `others` that do not matter; their BUMPs."""
        fillers = [hash256(bytes((height % 256, n))) for n in range(others)]
        tree = MerkleTree(fillers + [transaction.txid for transaction in transactions])
        self.roots[height] = tree.root
        self.mined.update((transaction.txid, height) for transaction in transactions)
        return [tree.bump(others + index, height) for index in range(len(transactions))]


def spend(coins: list[tuple[Transaction, int]], outputs: list[Output], version: int = 1) -> Transaction:
    """A transaction that unlocks P2PKH and PushDrop outputs of `KEY`, and whatever wants nothing."""
    sources = [parent.outputs[index] for parent, index in coins]
    inputs = [Input(parent.txid, index, b"", FINAL) for parent, index in coins]
    hasher = Sighasher(make_transaction(inputs, outputs, version))
    signed = [
        one._replace(unlocking_script=_unlock(hasher, index, source))
        for index, (one, source) in enumerate(zip(inputs, sources, strict=True))
    ]
    return make_transaction(signed, outputs, version)


def _unlock(hasher: Sighasher, index: int, source: Output) -> bytes:
    digest = hasher.digest(index, source)
    if source.script == LOCK:
        return SIGNER.unlock(digest, ALL_FORKID)
    if pushdrop.decode(source.script) is not None:
        return pushdrop.unlock(KEY, digest)
    if source.script.endswith(b"\xae"):
        both = [pushdrop.encode_push(key.sign(digest) + bytes((ALL_FORKID,))) for key in (KEY, OTHER)]
        return b"\x00" + b"".join(both)
    return pushdrop.encode_push(b"the answer") if source.script[:1] == b"\xa9" else b""


TOKEN = pushdrop.lock(KEY.public, [b'{"energy_source":"solar_pv"}' * 5, b"\x02", b"", KEY.public])
MULTISIG = b"\x52" + b"".join(pushdrop.encode_push(key.public) for key in (KEY, OTHER)) + b"\x52\xae"
PUZZLE = b"\xa9" + pushdrop.encode_push(hash160(b"the answer")) + b"\x87"
ANYONE = b"\x51"
LOCKS = (LOCK, TOKEN, MULTISIG, PUZZLE, ANYONE, LOCK)


def make_seeds(ground: Ground) -> list[Draft]:
    """Valid envelopes of every form, over mined and unconfirmed ancestors and several kinds of scripts."""
    seeds: list[Draft] = []
    for number in range(6):
        seeds += _forms(_family(ground, number))
    seeds += _forms(_coinbase(ground))
    seeds += _forms(_young_coinbase(ground))
    seeds += _forms(_compound(ground))
    for seed in seeds:
        ground.valid.update(hash256(raw) for raw, _ in seed.entries)
    return seeds


def _forms(draft: Draft) -> list[Draft]:
    subject = hash256(draft.entries[-1][0])
    forms = [(BEEF_V1, None), (BEEF_V2, None), (BEEF_V1, subject), (BEEF_V2, subject)]
    return [replace(draft.copy(), version=version, subject=named) for version, named in forms]


def _family(ground: Ground, number: int) -> Draft:
    """A mined parent, `number` generations that each spend every output of the last, and their proofs."""
    spent = Input(hash256(bytes((number,))), 0, b"\x51", FINAL)
    parent = make_transaction([spent], [Output(10_000, lock) for lock in LOCKS])
    bumps = ground.mine(100 + number, [parent], number)
    entries: list[tuple[bytes, int | None]] = [(parent.raw, 0)]
    top = parent
    for generation in range(number + 1):
        coins = [(top, index) for index in range(len(top.outputs))]
        outputs = [Output(9_000 - generation, lock) for lock in LOCKS[: 2 + number]]
        top = spend(coins, outputs, 1 + number % 2)
        entries.append((top.raw, None))
    return Draft(BEEF_V1, bumps, entries)


def _coinbase(ground: Ground) -> Draft:
    made = make_transaction([Input(bytes(32), FINAL, b"\x01\x02\x03", FINAL)], [Output(50_000, LOCK)])
    bumps = ground.mine(TIP_HEIGHT - 200, [made], 0)
    child = spend([(made, 0)], [Output(1, TOKEN), Output(40_000, LOCK)])
    return Draft(BEEF_V1, bumps, [(made.raw, 0), (child.raw, None)])


def _young_coinbase(ground: Ground) -> Draft:
    """Nothing but a coinbase that cannot be spent yet."""
    made = make_transaction([Input(bytes(32), FINAL, b"\x01\x07", FINAL)], [Output(50_000, ANYONE)])
    return Draft(BEEF_V1, ground.mine(TIP_HEIGHT - 20, [made], 2), [(made.raw, 0)])


def _compound(ground: Ground) -> Draft:
    """Two mined parents under one BUMP that holds both."""
    parents = [
        make_transaction([Input(hash256(mark), 0, b"", FINAL)], [Output(700, lock) for lock in LOCKS])
        for mark in (b"left", b"right")
    ]
    left, right = (parent.txid for parent in parents)
    ground.mine(300, parents, 0)
    bump = write_varint(300) + b"\x01\x02\x00\x02" + left + b"\x01\x02" + right
    child = spend([(parents[0], 0), (parents[1], 1)], [Output(1_400, LOCK)])
    return Draft(BEEF_V1, [bump], [(parents[0].raw, 0), (parents[1].raw, 0), (child.raw, None)])


# Mutations of bytes

Bend = Callable[[bytes, bytes, Random], bytes]
EDGES = (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xfc", b"\xfd", b"\xfe", b"\xff")
NUMBERS = (
    b"\x00",
    b"\xfc",
    b"\xfd\x00\x00",
    b"\xfd\x01\x00",
    b"\xfd\xff\xff",
    b"\xfe\x00\x00\x01\x00",
    b"\xfe\xff\xff\xff\xff",
    b"\xff" + bytes(8),
    b"\xff" * 9,
)


def flip(data: bytes, _: bytes, chance: Random) -> bytes:
    bent = bytearray(data)
    for _n in range(chance.choice((1, 1, 1, 2, 4, 16))):
        bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
    return bytes(bent)


def overwrite(data: bytes, _: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(EDGES) + data[at + 1 :]


def renumber(data: bytes, _: bytes, chance: Random) -> bytes:
    """Put another number where a count or a length may be."""
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(NUMBERS) + data[at + chance.randrange(2) :]


def truncate(data: bytes, _: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data))]


def extend(data: bytes, other: bytes, chance: Random) -> bytes:
    return data + chance.choice((chance.randbytes(chance.randrange(1, 40)), other))


def remove(data: bytes, _: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randrange(1, 64) :]


def repeat(data: bytes, _: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    end = at + chance.randrange(1, 200)
    return data[:end] + data[at:end] * chance.choice((1, 2, 20)) + data[end:]


def splice(data: bytes, other: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


BYTE_BENDS: tuple[Bend, ...] = (flip, flip, overwrite, renumber, truncate, extend, remove, repeat, splice)

# Mutations of parts

PartBend = Callable[[Draft, Draft, Random], None]


def drop_entry(draft: Draft, _: Draft, chance: Random) -> None:
    draft.entries.pop(chance.randrange(len(draft.entries)))


def repeat_entry(draft: Draft, _: Draft, chance: Random) -> None:
    draft.entries.insert(chance.randrange(len(draft.entries) + 1), chance.choice(draft.entries))


def reorder(draft: Draft, _: Draft, chance: Random) -> None:
    chance.shuffle(draft.entries)


def adopt(draft: Draft, other: Draft, chance: Random) -> None:
    """Take another envelope's paths and some of its members over."""
    shift = len(draft.bumps)
    draft.bumps += other.bumps
    for raw, bump in chance.sample(other.entries, chance.randrange(1, len(other.entries) + 1)):
        place = chance.randrange(len(draft.entries) + 1)
        draft.entries.insert(place, (raw, None if bump is None else bump + shift))


def swap_proof(draft: Draft, _: Draft, chance: Random) -> None:
    at = chance.randrange(len(draft.entries))
    draft.entries[at] = (draft.entries[at][0], chance.choice((None, 0, len(draft.bumps), 2**32)))


def swap_bump(draft: Draft, other: Draft, chance: Random) -> None:
    draft.bumps[chance.randrange(len(draft.bumps))] = chance.choice(other.bumps)


def bend_bump(draft: Draft, other: Draft, chance: Random) -> None:
    at = chance.randrange(len(draft.bumps))
    draft.bumps[at] = chance.choice(BYTE_BENDS)(draft.bumps[at], chance.choice(other.bumps), chance)


def move_block(draft: Draft, other: Draft, chance: Random) -> None:
    """Say of a proof that it is of another height."""
    at = chance.randrange(len(draft.bumps))
    height, _ = read_varint(chance.choice(other.bumps), 0)
    _, start = read_varint(draft.bumps[at], 0)
    draft.bumps[at] = write_varint(height + chance.choice((0, 1, 2**16))) + draft.bumps[at][start:]


def bend_transaction(draft: Draft, other: Draft, chance: Random) -> None:
    at = chance.randrange(len(draft.entries))
    raw, bump = draft.entries[at]
    draft.entries[at] = (chance.choice(BYTE_BENDS)(raw, chance.choice(other.entries)[0], chance) or raw, bump)


def txid_alone(draft: Draft, _: Draft, chance: Random) -> None:
    draft.version = BEEF_V2
    at = chance.randrange(len(draft.entries))
    draft.entries[at] = (hash256(draft.entries[at][0]), None)


def rename(draft: Draft, other: Draft, chance: Random) -> None:
    draft.subject = hash256(chance.choice(chance.choice((draft, other)).entries)[0])


def other_version(draft: Draft, _: Draft, __: Random) -> None:
    draft.version = BEEF_V1 if draft.version == BEEF_V2 else BEEF_V2


def rewrite(draft: Draft, other: Draft, chance: Random) -> None:
    """Change one field of one transaction and write it well, so that it reaches the verifier."""
    at = chance.randrange(len(draft.entries))
    raw, bump = draft.entries[at]
    draft.entries[at] = (
        _rewritten(Transaction.parse(raw), Transaction.parse(other.entries[0][0]), chance).raw,
        bump,
    )


def _rewritten(old: Transaction, other: Transaction, chance: Random) -> Transaction:
    inputs, outputs = list(old.inputs), list(old.outputs)
    one, two = chance.randrange(len(inputs)), chance.randrange(len(outputs))
    number = chance.choice((0, 1, 2, 2**31, 2**32 - 1))
    match chance.randrange(10):
        case 0:
            return make_transaction(inputs, outputs, number, old.lock_time)
        case 1:
            return make_transaction(inputs, outputs, old.version, number)
        case 2:
            inputs[one] = inputs[one]._replace(sequence=number)
        case 3:
            inputs[one] = inputs[one]._replace(source_index=number)
        case 4:
            inputs[one] = inputs[one]._replace(source_txid=chance.choice((other.txid, bytes(32), old.txid)))
        case 5:
            inputs.append(chance.choice((inputs[one], other.inputs[0])))
        case 6:
            outputs[two] = outputs[two]._replace(satoshis=chance.choice((0, 1, 10_000, 21 * 10**14, 2**64 - 1)))
        case 7:
            outputs[two] = outputs[two]._replace(script=chance.choice(LOCKS) + chance.choice((b"", b"\x61")))
        case 8:
            script = chance.choice(BYTE_BENDS)(inputs[one].unlocking_script or b"\x51", b"\x51\x52", chance)
            inputs[one] = inputs[one]._replace(unlocking_script=script)
        case _:
            outputs.append(Output(chance.randrange(3), chance.randbytes(chance.randrange(60))))
    return make_transaction(inputs, outputs, old.version, old.lock_time)


def add_child(draft: Draft, _: Draft, chance: Random) -> None:
    """A new subject that spends some output, rightly or not."""
    parent = Transaction.parse(chance.choice(draft.entries)[0])
    index = chance.randrange(len(parent.outputs))
    value = parent.outputs[index].satoshis + chance.choice((-1, 0, 0, 1))
    child = spend([(parent, index)], [Output(max(value, 0), chance.choice(LOCKS))])
    draft.entries.append((child.raw, None))
    draft.subject = chance.choice((None, child.txid))


PART_BENDS: tuple[PartBend, ...] = (
    drop_entry,
    repeat_entry,
    reorder,
    adopt,
    swap_proof,
    swap_bump,
    bend_bump,
    move_block,
    bend_transaction,
    txid_alone,
    rename,
    other_version,
    rewrite,
    rewrite,
    rewrite,
    add_child,
)


class Mutator:
    """Mutants of valid envelopes, the same ones for the same seed."""

    def __init__(self, seeds: list[Draft], seed: int) -> None:
        self._seeds = seeds
        self._chance = Random(seed)

    def next(self) -> bytes:
        chance = self._chance
        draft, other = chance.choice(self._seeds).copy(), chance.choice(self._seeds)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            try:
                chance.choice(PART_BENDS)(draft, other, chance)
            except (BadRequest, IndexError, ValueError, OverflowError):
                # A part that an earlier bend has broken: written out as it is now.
                break
        data = draft.write()
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            data = chance.choice(BYTE_BENDS)(data or b"\x01", other.write(), chance)
        return data


class Oracle:
    """Finds out by other means whether an accepted mutant is valid: what is known, else the SDK's Python side."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._sdk = load_sdk()
        self._spend = load_sdk("bsv.script.spend").Spend

    def objection(self, envelope: Envelope) -> str | None:
        """Why the envelope should not have been accepted."""
        spent: set[bytes] = set()
        for member in envelope.ancestry():
            transaction = member.transaction
            if member.bump is not None:
                if (transaction.txid, member.bump.height) not in self._ground.mined:
                    return f"{transaction.txid_hex} was never mined at {member.bump.height}"
                continue
            points = {outpoint(one.source_txid, one.source_index) for one in transaction.inputs}
            if len(points) != len(transaction.inputs) or spent & points:
                return f"{transaction.txid_hex} spends what is spent"
            spent |= points
            if transaction.txid not in self._ground.valid and (why := self._judge(envelope, transaction)):
                return f"{transaction.txid_hex}: {why}"
        return None

    def _judge(self, envelope: Envelope, transaction: Transaction) -> str | None:
        twin = self._sdk.Transaction.from_hex(transaction.raw)
        if twin is None or twin.serialize() != transaction.raw:
            return "the SDK reads it otherwise"
        taken = 0
        for index, one in enumerate(twin.inputs):
            parent = self._sdk.Transaction.from_hex(
                envelope.members[bytes.fromhex(one.source_txid)[::-1]].transaction.raw
            )
            source = parent.outputs[one.source_output_index]
            taken += source.satoshis
            if why := self._run(twin, index, source):
                return why
        if sum(output.satoshis for output in twin.outputs) > taken:
            return "it makes coins"
        self._ground.valid.add(transaction.txid)
        return None

    def _run(self, twin: Any, index: int, source: Any) -> str | None:
        one = twin.inputs[index]
        context = {
            "sourceTXID": one.source_txid,
            "sourceOutputIndex": one.source_output_index,
            "sourceSatoshis": source.satoshis,
            "lockingScript": source.locking_script,
            "transactionVersion": twin.version,
            "otherInputs": [other for at, other in enumerate(twin.inputs) if at != index],
            "outputs": twin.outputs,
            "inputIndex": index,
            "unlockingScript": one.unlocking_script,
            "inputSequence": one.sequence,
            "lockTime": twin.locktime,
        }
        try:
            return None if self._spend(context)._validate_python() else "a script fails in the SDK"
        except Exception as error:
            return f"a script fails in the SDK: {error}"


@dataclass(slots=True)
class Summary:
    """Mutants by outcome, and what should not have been."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    growth_mib: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failures and self.growth_mib < MOST_GROWTH_MIB

    def show(self) -> None:
        count = self.outcomes.total()
        for name, number in self.outcomes.most_common():
            print(f"{number:>9} {name}")
        print(f"{count:>9} mutants in {self.seconds:.1f} s, {count / self.seconds:.0f} a second")
        print(f"{self.growth_mib:>9.1f} MiB more memory at most ({MOST_GROWTH_MIB} allowed)")
        for failure in self.failures[:20]:
            print(f"FAILED {failure}")
        print("passed" if self.passed else f"{len(self.failures)} FAILURES")


def judge(data: bytes, ground: Ground, limits: VerifyLimits) -> Envelope:
    """The envelope when it is valid; `BadRequest` as `Verifier.verify` raises it."""
    envelope = parse_envelope(data)
    for job in prepare(envelope, ground, limits):
        try:
            run(job)
        except MemoryError as error:
            # What the worker process makes of it.
            raise BadRequest("the scripts need too much memory", ErrorCode.SCRIPT_TOO_COSTLY) from error
    return envelope


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fuzz(mutations: int, seed: int) -> Summary:
    """Try so many mutants; deterministic but for times and memory."""
    ground, summary, limits = Ground(), Summary(), VerifyLimits()
    seeds = make_seeds(ground)
    oracle, mutator = Oracle(ground), Mutator(seeds, seed)
    for draft in seeds:
        judge(draft.write(), ground, limits)
    before, since = peak_mib(), perf_counter()
    for number in range(mutations):
        data = mutator.next()
        try:
            envelope = judge(data, ground, limits)
        except BadRequest as refusal:
            summary.outcomes[refusal.code] += 1
            if refusal.code not in DECLARED:
                summary.failures.append(f"mutant {number}: {refusal.code} is not declared: {data.hex()}")
        except Exception as error:
            summary.outcomes[type(error).__name__] += 1
            summary.failures.append(f"mutant {number}: {error!r}: {data.hex()}")
        else:
            summary.outcomes["accepted"] += 1
            if why := oracle.objection(envelope):
                summary.failures.append(f"mutant {number}: accepted, but {why}: {data.hex()}")
    summary.seconds, summary.growth_mib = perf_counter() - since, peak_mib() - before
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", type=Path, help="a file with the bytes of one mutant, to judge it alone")
    options = parser.parse_args()
    limit = ADDRESS_SPACE_MIB << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if options.one:
        ground = Ground()
        make_seeds(ground)
        print(Oracle(ground).objection(judge(options.one.read_bytes(), ground, VerifyLimits())) or "valid")
        return
    summary = fuzz(options.mutations, options.seed)
    summary.show()
    sys.exit(not summary.passed)


if __name__ == "__main__":
    main()
