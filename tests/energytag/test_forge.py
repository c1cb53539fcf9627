"""The forge makes the very tokens that would be made on the spot, and its failure stops nothing."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest

from basket.keyring import Keyring
from certificates.issuance import draft
from certificates.ranges import Range
from energytag.compose import lay_out
from energytag.forge import Forge
from energytag.plan import Holder, Issue
from overlay.keys import PrivateKey
from tests.processes import kill_helpers
from tests.sample import ATTRIBUTES

KEY = PrivateKey.from_int(1001)
KEYRING = Keyring(KEY)
SPENT = bytes(range(36))
CUSTODIAL = Holder(
    "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11", KEYRING.account("0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11").public
)
OUTSIDE = PrivateKey.from_int(8).public
BOUND = Holder("0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d12", PrivateKey.from_int(7).public, is_custodial=False)


def issues(count: int) -> list[Issue]:
    checked = draft(ATTRIBUTES | {"device_location": [52.0, -0.5], "note": None}, 10)
    return [
        Issue(
            checked,
            Range(1 + 10 * n, 10 + 10 * n),
            (CUSTODIAL, BOUND)[n % 2],
            lambda _: (),
            {"note": {"n": n}},
            {"message": f"{n:064x}"} if n % 3 == 0 else None,
            OUTSIDE if n % 5 == 0 else b"",
        )
        for n in range(count)
    ]


@pytest.fixture
async def forge() -> AsyncIterator[Forge]:
    made = Forge(KEY)
    yield made
    await made.close()


async def test_the_tokens_are_the_same_to_the_byte(forge: Forge) -> None:
    pieces = issues(20)
    here = lay_out(pieces, SPENT, KEYRING)
    there = await forge.issue(pieces, SPENT)
    assert there is not None
    assert [each.script for each in there] == [each.script for each in here]
    assert [(each.token, each.lock, each.holder) for each in there] == [
        (each.token, each.lock, each.holder) for each in here
    ]


def test_a_key_outside_and_an_origin_are_in_what_is_signed() -> None:
    first, second, *_ = lay_out(issues(2), SPENT, KEYRING)
    assert first.token is not None
    assert second.token is not None
    assert (first.token.locking_key, first.holder, first.lock) == (OUTSIDE, None, None)
    assert first.token.origin == {"message": "0" * 64}
    assert b'"origin":{"message"' in first.token.signed_text
    assert b'"origin":null' in second.token.signed_text


async def test_a_worker_that_dies_is_replaced(forge: Forge) -> None:
    pieces = issues(3)
    assert await forge.issue(pieces, SPENT) is not None
    assert kill_helpers("energytag.forge_worker")
    assert await forge.issue(pieces, SPENT) is not None


async def test_what_the_worker_cannot_do_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await Forge(KEY).issue(issues(2), SPENT) is None
