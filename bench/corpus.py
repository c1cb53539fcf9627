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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import orjson

from bench.bundles import Fleet
from overlay import pushdrop
from overlay.keys import PrivateKey
from overlay.merkle import MerkleTree
from overlay.sdk import hash160, hash256
from overlay.varint import write_varint

BLOCK_TRANSACTIONS = 2048
ISSUER = PrivateKey.from_int(1001)
PRODUCERS = [PrivateKey.from_int(5000 + number) for number in range(16)]
FUNDER = PrivateKey.from_int(4000)
TOPICS = ("tm_metawatt_gc",)
MUTABLE = frozenset(
    (
        "certificate_status",
        "account_id",
        "bundle_id_range_start",
        "bundle_id_range_end",
        "bundle_quantity",
        "sdr_allocation_id",
        "storage_efficiency_factor",
    )
)
_EASY_BITS = 0x207FFFFF
_FIRST_TIME = 1_767_225_600
_SIGHASH = (0x41).to_bytes(4, "little")
_SEQUENCE = b"\xff\xff\xff\xff"
_FUNDER_HASH = hash160(FUNDER.public)
_P2PKH = b"\x76\xa9\x14" + _FUNDER_HASH + b"\x88\xac"


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


def issuance_id(outpoint: bytes, index: int) -> str:
    """The id that an issuance by this input 0 and at this output must carry (TOKEN.md)."""
    digest = bytearray(sha256(b"metawatt gc" + outpoint + index.to_bytes(4, "little")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(digest)))


def certificate_script(fleet: Fleet, number: int, outpoint: bytes, index: int) -> bytes:
    """The locking script of certificate `number`, issued at output `index` by the spender of `outpoint`."""
    identity = issuance_id(outpoint, index)
    bundle = fleet.bundle(number, identity)
    issued = {"start": bundle["bundle_id_range_start"], "end": bundle["bundle_id_range_end"]}
    immutable = {name: value for name, value in bundle.items() if name not in MUTABLE}
    text = _canonical({"energyTag": immutable, "issued": issued, "origin": None})
    signer = ISSUER.derive((1, "metawatt gc issuance"), identity, "anyone")
    owner = PRODUCERS[number % len(PRODUCERS)].derive_public((1, "metawatt gc"), f"token {number}", "self")
    fields = [
        _canonical({"v": 1, "energyTag": bundle, "issued": issued}),
        ISSUER.public,
        signer.sign(sha256(text).digest()),
    ]
    return pushdrop.lock(owner, fields)


def _canonical(value: object) -> bytes:
    """RFC 8785 for what bundles hold: sorted keys, ASCII, plain numbers."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _output(satoshis: int, script: bytes) -> bytes:
    return satoshis.to_bytes(8, "little") + write_varint(len(script)) + script


def _transaction(inputs: bytes, outputs: list[bytes]) -> bytes:
    return b"\x01\0\0\0" + b"\x01" + inputs + write_varint(len(outputs)) + b"".join(outputs) + bytes(4)


def _parent(chance: random.Random, satoshis: int) -> bytes:
    script = chance.randbytes(107)
    spent = chance.randbytes(32) + bytes(4)
    return _transaction(spent + bytes((len(script),)) + script + _SEQUENCE, [_output(satoshis, _P2PKH)])


def _child(fleet: Fleet, parent_txid: bytes, satoshis: int, first: int, count: int) -> bytes:
    spent = parent_txid + bytes(4)
    outputs = [_output(1, certificate_script(fleet, first + n, spent, n)) for n in range(count)]
    outputs.append(_output(satoshis - count - 50, _P2PKH))
    preimage = b"".join(
        (
            b"\x01\0\0\0",
            hash256(spent),
            hash256(_SEQUENCE),
            spent,
            _output(satoshis, _P2PKH)[8:],
            satoshis.to_bytes(8, "little"),
            _SEQUENCE,
            hash256(b"".join(outputs)),
            bytes(4),
            _SIGHASH,
        )
    )
    signature = FUNDER.sign(hash256(preimage)) + b"\x41"
    unlocking = bytes((len(signature),)) + signature + b"\x21" + FUNDER.public
    return _transaction(spent + bytes((len(unlocking),)) + unlocking + _SEQUENCE, outputs)


def make_block(seed: int, height: int, first: int, count: int, certificates: int) -> tuple[bytes, bytes]:
    """One block with `count` parents: its Merkle root, and the submissions that rest on it as a file of a
    part holds them. `first` is the number of its first certificate."""
    chance = random.Random(f"{seed}/{height}")
    fleet = Fleet(seed)
    satoshis = 1000 + certificates
    parents = [_parent(chance, satoshis) for _ in range(count)]
    fillers = [chance.randbytes(32) for _ in range(BLOCK_TRANSACTIONS - count)]
    tree = MerkleTree([fillers[0], *(hash256(parent) for parent in parents), *fillers[1:]])
    records = bytearray()
    for number, parent in enumerate(parents):
        child = _child(fleet, hash256(parent), satoshis, first + number * certificates, certificates)
        bump = tree.bump(number + 1, height)
        beef = b"\x01\0\xbe\xef\x01" + bump + b"\x02" + parent + b"\x01\0" + child + b"\0"
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
    """Write one part; yields the roots of its blocks, the first of which is at `height`."""
    per_block = BLOCK_TRANSACTIONS - 1
    starts = range(0, part.count, per_block)
    tasks = [
        pool.submit(
            make_block,
            seed,
            height + start // per_block,
            first + start * part.certificates,
            min(per_block, part.count - start),
            part.certificates,
        )
        for start in starts
    ]
    with (folder / f"{part.name}.bin").open("wb") as file:
        for task in tasks:
            root, records = task.result()
            file.write(records)
            yield root


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
