"""The topic manager on transactions: scripts in, admissions out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from certificates.policy import Issuer, Policy
from config.errors import BadRequest
from overlay import pushdrop
from overlay.topic import Admission, Coin, Submission
from overlay.transaction import Input, Output, Transaction, txid_from_hex
from topics import keychain
from topics.certificates import MAX_TOKEN_SCRIPT_BYTES, STEPS_A_TURN, CertificateTopic, read_script
from topics.names import certificate_topic

VECTORS = json.loads((Path(__file__).parents[1] / "certificates" / "vectors.json").read_text())
SELF, PRODUCER, PART, THAI = (bytes.fromhex(each["script"]) for each in VECTORS["tokens"])
ISSUER = bytes.fromhex(VECTORS["keys"]["issuer"])
POLICY = Policy((Issuer(ISSUER, "Example"),))
P2PKH = bytes.fromhex("76a914" + "00" * 20 + "88ac")


def transaction(vector: int, scripts: Sequence[bytes], satoshis: int = 1) -> Transaction:
    funding = VECTORS["tokens"][vector]["funding"]
    spent = Input(txid_from_hex(funding["txid"]), funding["vout"], b"", 0xFFFFFFFF)
    outputs = tuple(Output(satoshis, script) for script in scripts)
    return Transaction(bytes(32), b"", 1, (spent,), outputs, 0)


def submission(scripts: Sequence[bytes], coins: Sequence[bytes] = (), vector: int = 0) -> Submission:
    placed = tuple(Coin(index, bytes(32), 0, 1, script) for index, script in enumerate(coins))
    return Submission("tm_metawatt_gc", transaction(vector, scripts), placed)


def topic(source: str | None = None, region: str | None = None, policy: Policy = POLICY) -> CertificateTopic:
    return CertificateTopic(certificate_topic(source, region), policy)


async def test_issuances_of_the_vectors() -> None:
    both = submission([SELF, PRODUCER, P2PKH])
    assert await topic().judge(both) == Admission((0, 1), ())
    assert await topic("solar_pv", "de").judge(both) == Admission((0, 1), ())
    assert await topic("wind").judge(both) == Admission()
    thai = submission([P2PKH] * 7 + [THAI], vector=3)
    assert await topic("wind", "th").judge(thai) == Admission((7,), ())
    assert await topic(region="de").judge(thai) == Admission()


async def test_a_part_alone_loses_the_rest() -> None:
    verdict = topic().explain(submission([PART], [PRODUCER]))
    assert (verdict.outputs_to_admit, verdict.coins_to_retain) == ((), ())
    assert "spent 1..52500, made 1..250" in verdict.refusals[0].reason


async def test_transfer_in_every_topic_that_holds_the_coin() -> None:
    moved = pushdrop.lock(ISSUER, pushdrop.decode(PRODUCER).fields)  # type: ignore[union-attr]
    for each in (topic(), topic("solar_pv"), topic(region="de"), topic("solar_pv", "de")):
        assert await each.judge(submission([P2PKH, moved], [PRODUCER])) == Admission((1,), (0,))


async def test_what_is_not_a_certificate_is_ignored() -> None:
    other = pushdrop.lock(ISSUER, [b"hello"])
    large = pushdrop.lock(ISSUER, [b"{" + b" " * MAX_TOKEN_SCRIPT_BYTES + b"}", b"x"])
    verdict = topic().explain(submission([P2PKH, b"", other, large, b"\x6a" * 40]))
    assert (verdict.outputs_to_admit, verdict.coins_to_retain) == ((), ())
    assert [refusal.outputs for refusal in verdict.refusals] == [(2,)]
    assert read_script(large) is None


async def test_judged_at_once_by_many_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances share the memory of verified signatures: one transaction, one verification."""
    keychain.forget()
    read_script.cache_clear()
    verified: list[bytes] = []
    plain = keychain.keys.verify_for_anyone

    def counted(signature: bytes, digest: bytes, *whose: Any) -> bool:
        verified.append(digest)
        return plain(signature, digest, *whose)

    monkeypatch.setattr(keychain.keys, "verify_for_anyone", counted)
    topics = [topic(), topic("solar_pv"), topic(region="de"), topic("solar_pv", "de")] * 2
    verdicts = await asyncio.gather(*(each.judge(submission([SELF])) for each in topics))
    assert set(verdicts) == {Admission((0,), ())}
    assert verified == [sha256(VECTORS["tokens"][0]["signed_text"].encode()).digest()]


async def test_no_memory_of_policy() -> None:
    """An instance that trusts nobody refuses what another has just admitted."""
    assert await topic().judge(submission([SELF])) == Admission((0,), ())
    assert await topic(policy=Policy()).judge(submission([SELF])) == Admission()


def test_scope_of_a_bundle() -> None:
    from certificates.token import Token

    token = read_script(SELF)
    assert isinstance(token, Token)
    assert topic("solar_pv", "de").takes(token.bundle)
    assert not topic("wind").takes(token.bundle)


def test_unknown_country() -> None:
    with pytest.raises(BadRequest):
        topic(region="zz")


async def test_many_outputs_let_others_have_their_turn() -> None:
    """Nothing runs for long between two turns, and the judgement is the same."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    scripts = [SELF, *([PRODUCER] * 300)]
    idle = asyncio.create_task(others())
    admission = await topic().judge(submission(scripts))
    idle.cancel()
    assert admission.outputs_to_admit == (0, 1)
    assert turns >= 2 * 300 // STEPS_A_TURN
