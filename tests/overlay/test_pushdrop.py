"""PushDrop scripts are those of the TypeScript SDK, and nothing else passes for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay import pushdrop
from overlay.keys import PrivateKey, verify
from overlay.sdk import load_sdk

VECTORS = json.loads((Path(__file__).parent / "pushdrop-vectors.json").read_text())
KEY = PrivateKey.from_int(1001)
HEAD = b"\x21" + KEY.public + b"\xac"

fields = st.lists(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=1),
        st.sampled_from([b"x" * 75, b"x" * 76, b"x" * 255, b"x" * 256, b"x" * 65535, b"x" * 65536]),
    ),
    min_size=1,
    max_size=pushdrop.MAX_FIELDS,
)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_scripts_made_in_typescript(vector: dict[str, Any]) -> None:
    script = bytes.fromhex(vector["script"])
    decoded = pushdrop.decode(script)
    assert decoded is not None
    assert decoded.locking_key.hex() == vector["locking_key"]
    assert pushdrop.lock(*decoded) == script


@given(fields)
def test_what_is_locked_is_decoded(values: list[bytes]) -> None:
    """The empty field and a zero byte are one in this encoding, and come back as the byte."""
    decoded = pushdrop.decode(pushdrop.lock(KEY.public, values))
    assert decoded == (KEY.public, tuple(value or b"\x00" for value in values))


@given(fields)
def test_the_python_sdk_locks_alike(values: list[bytes]) -> None:
    sdk = load_sdk("bsv.transaction.pushdrop")
    assert sdk.build_lock_before_pushdrop(values, KEY.public) == pushdrop.lock(KEY.public, values).hex()


@pytest.mark.parametrize(
    ("field", "push"),
    [
        (b"", b"\x00"),
        (b"\x00", b"\x00"),
        (b"\x01", b"\x51"),
        (b"\x10", b"\x60"),
        (b"\x11", b"\x01\x11"),
        (b"\x81", b"\x4f"),
        (b"\x80", b"\x01\x80"),
        (b"\x00\x00", b"\x02\x00\x00"),
        (b"a" * 75, b"\x4b" + b"a" * 75),
        (b"a" * 76, b"\x4c\x4c" + b"a" * 76),
        (b"a" * 256, b"\x4d\x00\x01" + b"a" * 256),
        (b"a" * 65536, b"\x4e\x00\x00\x01\x00" + b"a" * 65536),
    ],
)
def test_pushes_are_the_shortest(field: bytes, push: bytes) -> None:
    assert pushdrop.encode_push(field) == push


@pytest.mark.parametrize(
    ("push", "field"),
    [
        (b"\x60", b"\x10"),
        (b"\x01\x05", b"\x05"),
        (b"\x4c\x00", b""),
        (b"\x4c\x01a", b"a"),
        (b"\x4d\x01\x00a", b"a"),
        (b"\x4e\x01\x00\x00\x00a", b"a"),
    ],
)
def test_longer_pushes_are_read(push: bytes, field: bytes) -> None:
    assert pushdrop.decode(HEAD + push + b"\x75") == (KEY.public, (field,))


REFUSED = {
    "nothing": b"",
    "no field": HEAD,
    "no field, a drop": HEAD + b"\x75",
    "no drop": HEAD + b"\x51\x51",
    "too few drops": HEAD + b"\x51\x51\x75",
    "too many drops": HEAD + b"\x51\x75\x75",
    "drops in another order": HEAD + b"\x51\x51\x51\x75\x6d",
    "something behind": HEAD + b"\x51\x75\x51",
    "another opcode between": HEAD + b"\x51\x61\x51\x6d",
    "OP_RESERVED": HEAD + b"\x50\x75",
    "a push cut off": HEAD + b"\x05ab\x75",
    "a length cut off": HEAD + b"\x4d\x01",
    "a push to the very end": HEAD + b"\x02ab",
    "OP_CHECKSIGVERIFY": HEAD[:-1] + b"\xad\x51\x75",
    "an uncompressed key": b"\x41\x04" + b"\x11" * 64 + b"\xac\x51\x75",
    "a key of an unknown form": b"\x21\x04" + b"\x11" * 32 + b"\xac\x51\x75",
    "lock after": b"\x51\x75" + HEAD,
    "too many fields": HEAD + b"\x51" * 65 + b"\x6d" * 32 + b"\x75",
    "too long": HEAD + b"\x4e\x20\xa1\x07\x00" + b"a" * 500_000 + b"\x75",
}


@pytest.mark.parametrize("script", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_one_is_not_decoded(script: bytes) -> None:
    assert pushdrop.decode(script) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_decoded_or_not(tail: bytes) -> None:
    decoded = pushdrop.decode(HEAD + tail)
    assert decoded is None or len(decoded.fields) <= pushdrop.MAX_FIELDS


@pytest.mark.parametrize(("key", "count"), [(KEY.public[:-1], 1), (KEY.public, 0), (KEY.public, 65)])
def test_what_cannot_be_locked_is_refused(key: bytes, count: int) -> None:
    with pytest.raises(ValueError, match=r"33 bytes|fields"):
        pushdrop.lock(key, [b"a"] * count)


def test_unlocking_is_one_signature() -> None:
    script = pushdrop.unlock(KEY, b"\x42" * 32)
    assert script[0] == len(script) - 1
    assert script[-1] == pushdrop.SIGHASH_ALL_FORKID
    assert verify(script[1:-1], b"\x42" * 32, KEY.public)
