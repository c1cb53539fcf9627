"""Makes a corpus: distinct submissions, each a mined parent and a child that issues certificates.

    python -m bench.corpus FOLDER first:20000 [fill:10000x100] [--seed 1] [--workers 2]

makes a part `first` of 20,000 submissions with one certificate each, and a part `fill` of 10,000 with a
hundred each. A parent is a P2PKH payment in a block of 2,048 transactions, so its Merkle path has 11 levels;
its child spends it with a signature and creates PushDrop outputs that are signed by the issuer. The same
arguments make the same bytes. The folder then holds

* `headers.bin`: the chain, 80 bytes a header from height 0, linked and with proof of work at regtest's target;
* `NAME.bin`: for each submission of a part its length (u32, little endian) and its BEEF V1;
* `corpus.json`: the issuer's key, the topics, the parts.
"""

from __future__ import annotations

import argparse
import json
import mmap
import random
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from bench.bundles import Fleet
from certificates.bundle import Bundle
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL, Token, encode_fields, issuance_id_for
from overlay import pushdrop
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder, make_transaction, p2pkh_lock, write_beef
from overlay.keys import PrivateKey
from overlay.merkle import MerkleTree
from overlay.sdk import hash256
from overlay.transaction import Input, Output, Transaction, outpoint

BLOCK_TRANSACTIONS = 2048
PER_BLOCK = BLOCK_TRANSACTIONS - 1
ISSUER = PrivateKey.from_int(1001)
PRODUCERS = [PrivateKey.from_int(5000 + number) for number in range(16)]
FUNDER = PrivateKey.from_int(4000)
TOPICS = ("tm_metawatt_gc",)
_BLOCKS_AHEAD = 4
_EASY_BITS = 0x207FFFFF
_FIRST_TIME = 1_767_225_600
_FUNDER_LOCK = p2pkh_lock(FUNDER.public)
_FUNDER_SIGNER = P2pkhSigner(FUNDER)


@dataclass(frozen=True, slots=True)
class Part:
    """Some submissions of a corpus, in a file of their own: `certificates` is how many each issues."""

    name: str
    count: int
    certificates: int = 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus on disk."""

    folder: Path

    @property
    def headers_file(self) -> Path:
        return self.folder / "headers.bin"

    @property
    def tip_height(self) -> int:
        return self.headers_file.stat().st_size // 80 - 1

    def submissions(self, part: str) -> Iterator[bytes]:
        """The BEEFs of a part, in order, read as they are asked for."""
        with (
            (self.folder / f"{part}.bin").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            position = 0
            while position < len(data):
                (size,) = struct.unpack_from("<I", data, position)
                yield data[position + 4 : position + 4 + size]
                position += 4 + size


def certificate_script(fleet: Fleet, number: int, spent: bytes, index: int) -> bytes:
    """The locking script of certificate `number`, issued at output `index` by the spender of outpoint
    `spent`."""
    bundle = Bundle(fleet.bundle(number, issuance_id_for(spent, index)))
    owner = PRODUCERS[number % len(PRODUCERS)].derive_public(OWNER_PROTOCOL, f"token {number}", "self")
    draft = Token(owner, bundle, Range(1, bundle.quantity), ISSUER.public)
    signer = ISSUER.derive(ISSUANCE_PROTOCOL, bundle.issuance_id, "anyone")
    token = draft.with_signature(signer.sign(sha256(draft.signed_text).digest()))
    return pushdrop.lock(owner, encode_fields(token))


def _parent(chance: random.Random, satoshis: int) -> Transaction:
    spent = Input(chance.randbytes(32), 0, chance.randbytes(107), 0xFFFFFFFF)
    return make_transaction([spent], [Output(satoshis, _FUNDER_LOCK)])


def _child(fleet: Fleet, parent: Transaction, first: int, count: int) -> Transaction:
    spent = outpoint(parent.txid, 0)
    builder = TransactionBuilder().spend(Coin(parent.txid, 0, parent.outputs[0]), _FUNDER_SIGNER)
    for index in range(count):
        builder.pay(1, certificate_script(fleet, first + index, spent, index))
    return builder.change_to(_FUNDER_LOCK).build()


def make_block(seed: int, height: int, first: int, count: int, certificates: int) -> tuple[bytes, bytes]:
    """One block with `count` parents: its Merkle root, and the submissions that rest on it as a file of a
    part holds them. `first` is the number of its first certificate."""
    chance = random.Random(f"{seed}/{height}")
    fleet = Fleet(seed)
    parents = [_parent(chance, 5_000 + 5 * certificates) for _ in range(count)]
    fillers = [chance.randbytes(32) for _ in range(BLOCK_TRANSACTIONS - count)]
    tree = MerkleTree([fillers[0], *(parent.txid for parent in parents), *fillers[1:]])
    records = bytearray()
    for number, parent in enumerate(parents):
        child = _child(fleet, parent, first + number * certificates, certificates)
        beef = write_beef([(parent, tree.bump(number + 1, height)), (child, None)])
        records += len(beef).to_bytes(4, "little") + beef
    return tree.root, bytes(records)


def make_header(previous: bytes, root: bytes, height: int) -> bytes:
    """A header that links and meets the easiest target there is."""
    front = b"\x01\0\0\0" + previous + root + struct.pack("<II", _FIRST_TIME + 600 * height, _EASY_BITS)
    for nonce in range(1 << 32):
        header = front + nonce.to_bytes(4, "little")
        if hash256(header)[31] < 0x80:
            return header
    raise RuntimeError("no nonce meets the target")


def make_corpus(folder: Path, parts: Sequence[Part], seed: int = 1, workers: int = 2) -> Corpus:
    """Make a corpus under `folder`; all parts stand on one chain."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = [make_header(bytes(32), hash256(b"genesis"), 0)]
    first = 0
    with ProcessPoolExecutor(workers) as pool:
        for part in parts:
            for root in _write_part(folder, part, seed, len(headers), first, pool):
                headers.append(make_header(hash256(headers[-1]), root, len(headers)))
            first += part.count * part.certificates
    (folder / "headers.bin").write_bytes(b"".join(headers))
    facts = {
        "issuer": ISSUER.public.hex(),
        "topics": TOPICS,
        "seed": seed,
        "tip_height": len(headers) - 1,
        "parts": [asdict(part) for part in parts],
    }
    (folder / "corpus.json").write_text(json.dumps(facts, indent=1) + "\n")
    return Corpus(folder)


def _write_part(
    folder: Path, part: Part, seed: int, height: int, first: int, pool: ProcessPoolExecutor
) -> Iterator[bytes]:
    """Write one part; yields the roots of its blocks, the first of which is at `height`. Blocks are made a
    few ahead of the one that is written, so that memory stays small."""
    most = max(1, PER_BLOCK // part.certificates)
    under_way: deque[Future[tuple[bytes, bytes]]] = deque()
    with (folder / f"{part.name}.bin").open("wb") as file:
        for number, start in enumerate(range(0, part.count, most)):
            first_here = first + start * part.certificates
            count = min(most, part.count - start)
            task = pool.submit(make_block, seed, height + number, first_here, count, part.certificates)
            under_way.append(task)
            if len(under_way) > _BLOCKS_AHEAD:
                yield _write_block(file, under_way.popleft())
        while under_way:
            yield _write_block(file, under_way.popleft())


def _write_block(file: BinaryIO, task: Future[tuple[bytes, bytes]]) -> bytes:
    root, records = task.result()
    file.write(records)
    return root


def _parse_part(text: str) -> Part:
    name, _, size = text.partition(":")
    count, _, certificates = size.partition("x")
    return Part(name, int(count), int(certificates or 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", type=_parse_part, nargs="+", metavar="NAME:COUNT[xCERTIFICATES]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    make_corpus(options.folder, options.parts, options.seed, options.workers)
    seconds = time.perf_counter() - started
    count = sum(part.count for part in options.parts)
    print(f"{count:,} submissions in {options.folder}, {count / seconds:,.0f} a second")


if __name__ == "__main__":
    main()
