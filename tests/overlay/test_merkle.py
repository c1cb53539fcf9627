"""Merkle trees against the definition and the SDK; paths that prove, and those that only seem to."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import BadRequest, ErrorCode
from overlay.merkle import Bump, MerkleTree, bump_for, is_ambiguous_leaf, merkle_root
from overlay.sdk import hash256, load_sdk
from overlay.varint import write_varint

SIZES = range(1, 41)


def txids_of(count: int) -> list[bytes]:
    return [sha256(bytes((n,))).digest() for n in range(count)]


def root_by_definition(txids: list[bytes]) -> bytes:
    if len(txids) == 1:
        return txids[0]
    if len(txids) % 2:
        txids = [*txids, txids[-1]]
    return root_by_definition([hash256(a + b) for a, b in zip(txids[::2], txids[1::2], strict=True)])


def node(offset: int, flags: int, digest: bytes = b"") -> bytes:
    return write_varint(offset) + bytes((flags,)) + digest


def bump_of(*levels: list[bytes], height: int = 7) -> bytes:
    body = b"".join(write_varint(len(nodes)) + b"".join(nodes) for nodes in levels)
    return write_varint(height) + bytes((len(levels),)) + body


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_paths_of_every_transaction(size: int) -> None:
    txids = txids_of(size)
    tree = MerkleTree(txids)
    assert tree.root == root_by_definition(txids) == merkle_root(txids)
    for index, txid in enumerate(txids):
        bump = Bump.parse_whole(tree.bump(index, 800_000 + size))
        assert bump.root_for(txid) == tree.root
        assert (bump.offset_of(txid), bump.height, bump.txids) == (index, 800_000 + size, (txid,))
        assert bump.extract(txid) is bump.raw


@pytest.mark.parametrize("size", SIZES[1:])
def test_the_sdk_reads_and_writes_the_paths(size: int) -> None:
    """All but the path of a block of one transaction, which it refuses."""
    sdk = load_sdk("bsv.merkle_path").MerklePath
    txids = txids_of(size)
    tree = MerkleTree(txids)
    for index, txid in enumerate(txids):
        path = sdk.from_binary(tree.bump(index, size))
        assert path.compute_root(txid[::-1].hex()) == tree.root[::-1].hex()
        assert path.to_binary() == tree.bump(index, size)


def test_the_sdk_still_refuses_a_block_of_one() -> None:
    """When this fails upstream is mended, and `SIZES[1:]` above may become `SIZES`."""
    sdk = load_sdk("bsv.merkle_path").MerklePath
    with pytest.raises(ValueError, match="Missing hash"):
        sdk.from_binary(bump_for(txids_of(1), 0, 5))


def compound(txids: list[bytes], chosen: set[int], trimmed: bool) -> bytes:
    """One BUMP for several transactions; `trimmed` leaves out what follows from the nodes below."""
    levels: list[list[bytes]] = []
    hashes, on_path = txids, chosen
    while len(hashes) > 1:
        wanted = on_path | {offset ^ 1 for offset in on_path}
        if levels:
            wanted -= on_path
            if not trimmed:
                wanted |= {offset ^ 1 for offset in wanted} & on_path
        nodes = []
        for offset in sorted(wanted):
            flags = 2 if not levels and offset in chosen else 0
            nodes.append(node(offset, flags, hashes[offset]) if offset < len(hashes) else node(offset, 1))
        levels.append(nodes)
        padded = hashes if len(hashes) % 2 == 0 else [*hashes, hashes[-1]]
        hashes = [hash256(a + b) for a, b in zip(padded[::2], padded[1::2], strict=True)]
        on_path = {offset >> 1 for offset in on_path}
    return bump_of(*levels)


@settings(deadline=None)
@given(st.integers(2, 40), st.booleans(), st.data())
def test_compound_paths(size: int, trimmed: bool, data: Any) -> None:
    txids = txids_of(size)
    chosen = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=6))
    bump = Bump.parse_whole(compound(txids, chosen, trimmed))
    assert set(bump.txids) == {txids[index] for index in chosen}
    for index in chosen:
        assert bump.root_for(txids[index]) == merkle_root(txids)
        assert bump.extract(txids[index]) == bump_for(txids, index, 7)


def test_a_whole_block_without_any_upper_node() -> None:
    txids = txids_of(8)
    levels = [[node(offset, 2, txid) for offset, txid in enumerate(txids)], [], []]
    bump = Bump.parse_whole(bump_of(*levels))
    assert {bump.root_for(txid) for txid in txids} == {merkle_root(txids)}
    assert bump.extract(txids[5]) == bump_for(txids, 5, 7)


def test_position_and_end() -> None:
    path = bump_for(txids_of(5), 3, 1)
    bump, end = Bump.parse(b"\xff\xff" + path + b"\xee", 2)
    assert (bump.raw, end) == (path, len(path) + 2)
    with pytest.raises(BadRequest):
        Bump.parse_whole(path + b"\xee")


@pytest.mark.parametrize("size", [1, 2, 5, 17])
def test_cut_off_anywhere(size: int) -> None:
    path = bump_for(txids_of(size), 0, 700_000)
    for end in range(len(path)):
        with pytest.raises(BadRequest) as refusal:
            Bump.parse(path[:end])
        assert refusal.value.code is ErrorCode.MERKLE_PATH_INVALID
    with pytest.raises(BadRequest):
        Bump.parse(path, max_bytes=len(path) - 1)


A, B, C, D = txids_of(4)
MALFORMED = {
    "no levels": bump_of(),
    "65 levels": bump_of([node(0, 2, A)], *[[]] * 64),
    "no leaf": bump_of([], [node(1, 0, B)]),
    "an offset outside its level": bump_of([node(2, 2, A), node(3, 0, B)]),
    "an upper offset outside its level": bump_of([node(0, 2, A), node(1, 0, B)], [node(2, 0, C)]),
    "an offset twice": bump_of([node(0, 2, A), node(0, 0, B)]),
    "unknown flags": bump_of([node(0, 2, A), node(1, 4, B)]),
    "a duplicate with a hash": bump_of([node(0, 2, A), node(1, 3, B)]),
    "a left duplicate": bump_of([node(0, 1), node(1, 2, B)]),
    "a count that lies": write_varint(7) + b"\x01" + write_varint(2**63) + node(0, 2, A),
    "a height beyond all bounds": bump_of([node(0, 2, A)], height=2**32),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(data: bytes) -> None:
    with pytest.raises(BadRequest) as refusal:
        Bump.parse_whole(data)
    assert refusal.value.code is ErrorCode.MERKLE_PATH_INVALID


UNPROVEN: dict[str, tuple[bytes, Callable[[Bump], object]]] = {
    "a transaction that is not there": (bump_of([node(0, 2, A), node(1, 0, B)]), lambda b: b.root_for(C)),
    "no neighbour": (bump_of([node(0, 2, A)], [node(1, 0, B)]), lambda b: b.root_for(A)),
    "no upper node": (bump_of([node(0, 2, A), node(1, 0, B)], []), lambda b: b.root_for(A)),
    "alone at offset 1": (bump_of([node(1, 2, A)]), lambda b: b.root_for(A)),
    "a subtree right of its equal": (
        bump_of([node(6, 2, A), node(7, 0, B)], [node(2, 0, hash256(A + B))], [node(0, 0, C)]),
        lambda b: b.root_for(A),
    ),
}


@pytest.mark.parametrize(("data", "ask"), UNPROVEN.values(), ids=UNPROVEN.keys())
def test_paths_that_prove_nothing(data: bytes, ask: Callable[[Bump], object]) -> None:
    bump = Bump.parse_whole(data)
    with pytest.raises(BadRequest) as refusal:
        ask(bump)
    assert refusal.value.code is ErrorCode.MERKLE_PATH_INVALID


def test_an_explicit_duplicate_on_the_right_is_the_honest_tree() -> None:
    """`a b c c` has the root of `a b c`: whichever of the two is marked, it stands at 2."""
    bump = Bump.parse_whole(bump_of([node(2, 0, C), node(3, 2, C)], [node(0, 0, hash256(A + B))]))
    assert bump.root_for(C) == merkle_root([A, B, C])
    assert bump.offset_of(C) == 2


def test_work_stays_linear_in_a_hostile_path() -> None:
    """64 levels, each lacking what only the one below could tell: no exponential descent, no recursion."""
    leaves = [node(offset, 2, sha256(bytes((offset,))).digest()) for offset in range(256)]
    bump = Bump.parse_whole(bump_of(leaves, *[[]] * 63))
    with pytest.raises(BadRequest):
        bump.root_for(bump.txids[0])


@settings(deadline=None)
@given(st.binary(max_size=120), st.integers(0, 3))
def test_any_bytes_parse_or_are_refused(noise: bytes, keep: int) -> None:
    data = bump_for(txids_of(6), 2, 3)[: keep * 40] + noise
    try:
        bump, end = Bump.parse(data)
    except BadRequest:
        return
    assert bump.raw == data[:end]


@pytest.mark.parametrize(("size", "ambiguous"), [(63, False), (64, True), (65, False)])
def test_transactions_that_could_be_nodes(size: int, ambiguous: bool) -> None:
    assert is_ambiguous_leaf(size) is ambiguous


def test_an_empty_block_has_no_root() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merkle_root([])
