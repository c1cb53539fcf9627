"""Merkle trees of blocks, and BUMPs (BRC-74): proofs that transactions stand in them.

Hashes are 32 bytes in internal order. A BUMP on the wire: block height (varint), number of levels (1 byte),
then for each level, from the leaves up, a count and that many `offset (varint) | flags (1 byte) | hash`,
where flags 1 says "the same as its left neighbour" and carries no hash, and 2 marks a transaction of the
sender's. Compound BUMPs prove several transactions and may leave out nodes that follow from those below.

What a proof is held to, beyond what both SDKs ask:

* An offset lies inside its level. Otherwise a coinbase (offset 0) could pass for offset 2 of a two-leaf
  tree, whose hashing is the same, and dodge the rule of maturity.
* Blocks hash a last node without neighbour with itself, so `a b c` and `a b c c` have one root
  (CVE-2012-2459). A node marked as duplicate must be a right one, and a transaction that is said to stand
  to the right of its own equal is refused: each transaction has one place in a block.
* A transaction of exactly 64 bytes hashes like an inner node, and an inner node's 64 bytes may be passed off
  as a transaction (CVE-2017-12842). Sizes are not seen here, so whoever knows a transaction's asks
  `is_ambiguous_leaf` and does not believe such a transaction's proof.
* A proof of a block of one transaction has one leaf, at offset 0, and that is the root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from config.errors import BadRequest, ErrorCode
from overlay.sdk import hash256
from overlay.varint import read_varint, write_varint

MAX_BUMP_BYTES: Final = 1_000_000
MAX_LEVELS: Final = 64
MAX_HEIGHT: Final = 0xFFFF_FFFF

_HASH_FOLLOWS = 0
_DUPLICATE = 1
_TXID = 2
_CUT_OFF = 0xFF
_AMBIGUOUS_BYTES = 64

Level: TypeAlias = Mapping[int, bytes | None]


class _Missing:
    """Marks a node that a BUMP does not give; None marks a duplicate."""


_MISSING: Final = _Missing()


def is_ambiguous_leaf(size: int) -> bool:
    """Whether a transaction of so many raw bytes could as well be an inner node of a Merkle tree."""
    return size == _AMBIGUOUS_BYTES


def _refuse(message: str) -> BadRequest:
    return BadRequest(message, ErrorCode.MERKLE_PATH_INVALID)


class MerkleTree:
    """The tree over a block's txids, coinbase first; ValueError when there are none."""

    __slots__ = ("_levels",)

    def __init__(self, txids: Sequence[bytes]) -> None:
        if not txids:
            raise ValueError("a block has at least one transaction")
        level = list(txids)
        self._levels = [level]
        while len(level) > 1:
            padded = level if len(level) % 2 == 0 else [*level, level[-1]]
            level = [hash256(padded[i] + padded[i + 1]) for i in range(0, len(padded), 2)]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        return self._levels[-1][0]

    def bump(self, index: int, height: int) -> bytes:
        """The smallest BUMP for the transaction at `index` of the block at `height`."""
        txid = self._levels[0][index]
        if len(self._levels) == 1:
            return _write_path(height, 0, txid, [])
        siblings: list[bytes | None] = []
        for depth, level in enumerate(self._levels[:-1]):
            other = (index >> depth) ^ 1
            siblings.append(level[other] if other < len(level) else None)
        return _write_path(height, index, txid, siblings)


def merkle_root(txids: Sequence[bytes]) -> bytes:
    """The Merkle root of a block with these transactions, coinbase first."""
    return MerkleTree(txids).root


def bump_for(txids: Sequence[bytes], index: int, height: int) -> bytes:
    """The smallest BUMP for one transaction of a block; `MerkleTree.bump` when several are wanted."""
    return MerkleTree(txids).bump(index, height)


def _write_node(offset: int, node: bytes | None, flags: int = _HASH_FOLLOWS) -> bytes:
    if node is None:
        return write_varint(offset) + bytes((_DUPLICATE,))
    return write_varint(offset) + bytes((flags,)) + node


def _write_path(height: int, offset: int, txid: bytes, siblings: Sequence[bytes | None]) -> bytes:
    """A BUMP of one transaction; `siblings` from the leaves up, none for a block of one."""
    own = _write_node(offset, txid, _TXID)
    if not siblings:
        return write_varint(height) + b"\x01\x01" + own
    other = _write_node(offset ^ 1, siblings[0])
    leaves = own + other if offset % 2 == 0 else other + own
    parts = [write_varint(height), bytes((len(siblings),)), b"\x02", leaves]
    for level, node in enumerate(siblings[1:], 1):
        parts += (b"\x01", _write_node((offset >> level) ^ 1, node))
    return b"".join(parts)


class Bump:
    """A parsed BUMP. Nothing here changes after parsing but for nodes that are computed when first needed."""

    __slots__ = ("_completed", "_levels", "_offsets", "_txids", "height", "raw")

    def __init__(self, height: int, levels: list[dict[int, bytes | None]], txids: list[bytes], raw: bytes) -> None:
        self.height = height
        self.raw = raw
        self._levels: Sequence[Level] = levels
        self._txids = tuple(txids)
        self._completed: Sequence[Level] | None = None
        self._offsets: dict[bytes, int] | None = None

    @classmethod
    def parse(cls, data: bytes, position: int = 0, max_bytes: int = MAX_BUMP_BYTES) -> tuple[Bump, int]:
        """The BUMP at `position` and the position after it; `BadRequest(MERKLE_PATH_INVALID)` for anything
        that is cut off, longer than `max_bytes`, or not a path."""
        start = position
        limit = min(len(data), start + max_bytes)
        height, position = read_varint(data, position, ErrorCode.MERKLE_PATH_INVALID)
        if height > MAX_HEIGHT or position >= limit:
            raise _refuse("a Merkle path is cut off, or its block height is out of bounds")
        depth = data[position]
        if not 0 < depth <= MAX_LEVELS:
            raise _refuse(f"a Merkle path has 1 to {MAX_LEVELS} levels, not {depth}")
        position += 1
        levels: list[dict[int, bytes | None]] = []
        txids: list[bytes] = []
        for level in range(depth):
            marked = [] if level else txids
            nodes, position = _parse_level(data, position, limit, depth - level, marked)
            levels.append(nodes)
        if not levels[0]:
            raise _refuse("a Merkle path has no leaf")
        return cls(height, levels, txids, data[start:position]), position

    @classmethod
    def parse_whole(cls, data: bytes, max_bytes: int = MAX_BUMP_BYTES) -> Bump:
        """Like `parse`, and nothing may follow."""
        bump, end = cls.parse(data, 0, max_bytes)
        if end != len(data):
            raise _refuse("bytes follow a Merkle path")
        return bump

    @property
    def depth(self) -> int:
        """Levels below the root."""
        return len(self._levels)

    @property
    def txids(self) -> tuple[bytes, ...]:
        """Leaves that are marked as transactions of the sender's, in the order given."""
        return self._txids

    def offset_of(self, txid: bytes) -> int:
        """The transaction's index in its block; `BadRequest` when the path has no such leaf."""
        if self._offsets is None:
            leaves = sorted(self._levels[0].items(), reverse=True)
            self._offsets = {node: offset for offset, node in leaves if node is not None}
        try:
            return self._offsets[txid]
        except KeyError:
            raise _refuse("a Merkle path does not hold its transaction") from None

    def root_for(self, txid: bytes) -> bytes:
        """The Merkle root that follows for a transaction; `BadRequest` when the path is not complete."""
        offset = self.offset_of(txid)
        node = txid
        for sibling in self._siblings(offset):
            if not offset & 1:
                node = sha256(sha256(node + (sibling or node)).digest()).digest()
            elif sibling is None or sibling == node:
                raise _refuse("a Merkle path proves the repetition of a node, not the node")
            else:
                node = sha256(sha256(sibling + node).digest()).digest()
            offset >>= 1
        return node

    def extract(self, txid: bytes) -> bytes:
        """The smallest BUMP for one transaction: the very bytes that were parsed when they are that."""
        siblings = self._siblings(self.offset_of(txid))
        if self._txids == (txid,) and sum(map(len, self._levels)) == len(siblings) + 1:
            return self.raw
        return _write_path(self.height, self.offset_of(txid), txid, siblings)

    def _siblings(self, offset: int) -> list[bytes | None]:
        """The neighbours on the way from a leaf to the root; none for a block of one transaction."""
        if len(self._levels) == 1 and len(self._levels[0]) == 1:
            if offset != 0:
                raise _refuse("the only transaction of a block stands at its start")
            return []
        siblings: list[bytes | None] = []
        for index, level in enumerate(self._levels):
            node: bytes | _Missing | None = level.get(offset ^ 1, _MISSING)
            if isinstance(node, _Missing):
                node = self._computed(index, offset ^ 1)
            siblings.append(node)
            offset >>= 1
        return siblings

    def _computed(self, index: int, offset: int) -> bytes | None:
        if self._completed is None:
            self._completed = _complete(self._levels)
        try:
            return self._completed[index][offset]
        except KeyError:
            raise _refuse("a Merkle path lacks a node") from None


def _parse_level(
    data: bytes, position: int, limit: int, bits: int, marked: list[bytes]
) -> tuple[dict[int, bytes | None], int]:
    """One level, in which an offset has at most `bits` bits. Nodes flagged as txids are added to `marked`."""
    code = ErrorCode.MERKLE_PATH_INVALID
    count, position = read_varint(data, position, code)
    if count > (limit - position) // 2:
        raise _refuse("a Merkle path is cut off or too long")
    nodes: dict[int, bytes | None] = {}
    for _ in range(count):
        offset, position = read_varint(data, position, code)
        flags = data[position] if position < limit else _CUT_OFF
        position += 1
        if offset >> bits or flags > _TXID or offset in nodes:
            raise _refuse("a node of a Merkle path is outside its level, comes twice, or has unknown flags")
        if flags == _DUPLICATE:
            if not offset & 1:
                raise _refuse("only a right node can repeat its neighbour")
            nodes[offset] = None
            continue
        nodes[offset] = node = data[position : position + 32]
        position += 32
        if flags == _TXID:
            marked.append(node)
    if position > limit:
        raise _refuse("a Merkle path is cut off or too long")
    return nodes, position


def _complete(levels: Sequence[Level]) -> list[Level]:
    """The levels with every node added that follows from two below it. Linear: a level gets at most half as
    many nodes as the completed level below has."""
    completed: list[Level] = [levels[0]]
    for given in levels[1:]:
        below = completed[-1]
        nodes = dict(given)
        for offset, left in below.items():
            right = below.get(offset | 1, _MISSING)
            if offset & 1 or left is None or isinstance(right, _Missing) or offset >> 1 in nodes:
                continue
            nodes[offset >> 1] = hash256(left + (right or left))
        completed.append(nodes)
    return completed
