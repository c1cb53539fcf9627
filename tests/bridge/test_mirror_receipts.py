"""Receipts: what they prove, and that nothing of them can be changed, by others or by a bridge that lies."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import orjson
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.mirror.receipts.audited_bsv import Trusting
from bridge.mirror.receipts.auditing import Verdict, audited, contradictions
from bridge.mirror.receipts.findings import Outcome
from bridge.mirror.receipts.receipt import read_receipt
from bridge.mirror.receipts.statement import ReceiptMalformed
from bridge.mirror.receipts.trusted_headers import HeadersMalformed, read_headers
from bridge.programs.tokens import associated_account
from certificates.canonical import canonical
from overlay.keys import PrivateKey
from overlay.merkle import bump_for, merkle_root
from tests.bridge.mirror_kit import stranger
from tests.bridge.receipts_kit import ISSUER, Played, anew, another, edited, leaves, play, play_burns

NAMES = ("deposit", "automatic", "exit", "deposit given back", "exit given back")
STRANGER = PrivateKey.from_int(77)
BYTES_SAMPLED = 150


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Made once: nothing here changes it."""
    return asyncio.run(play(tmp_path_factory.mktemp("receipts")))


@pytest.fixture(scope="module")
def trusting(played: Played) -> Trusting:
    return Trusting(read_headers(played.headers), ISSUER.public, ISSUER.public)


@pytest.fixture(scope="module")
def burns(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return asyncio.run(play_burns(tmp_path_factory.mktemp("burns")))


def failures(verdict: Verdict) -> list[str]:
    return [check.text for check in verdict.checks if check.outcome is Outcome.FAILED]


# What is proven


@pytest.mark.parametrize("name", NAMES)
def test_a_receipt_of_the_bridge_is_proven(played: Played, trusting: Trusting, name: str) -> None:
    verdict = audited(played.receipts[name], trusting)
    assert failures(verdict) == []
    assert verdict.outcome is Outcome.OK


@pytest.mark.parametrize("name", ["burn, a stranger's", "burn", "burn given back", "exit"])
def test_a_receipt_of_a_bridge_that_burns_is_proven(burns: Played, name: str) -> None:
    trusting = Trusting(read_headers(burns.headers), ISSUER.public, ISSUER.public)
    verdict = audited(burns.receipts[name], trusting)
    assert failures(verdict) == []
    assert verdict.outcome is Outcome.OK
    told = [check.text for check in verdict.checks]
    assert ("it burns tokens" if name.startswith("burn") else "it mints") in told
    assert ("it is locked to the key" in " ".join(told)) is (name == "burn, a stranger's")
    for path, value in _lies(name, burns):
        if path != ("asset", "mode"):
            lie = edited(burns.receipts[name], path, value, key=ISSUER)
            assert audited(lie, trusting).outcome is Outcome.FAILED, (path, value)
    lie = edited(burns.receipts[name], ("asset", "mode"), "lock", key=ISSUER)
    assert audited(lie, trusting).outcome is Outcome.FAILED


def test_a_certificate_goes_back_to_whom_its_holder_said(played: Played, trusting: Trusting) -> None:
    told = [check.text for check in audited(played.receipts["exit given back"], trusting).checks]
    assert f"it is locked to {stranger().public.hex()}, as the holder had demanded" in told


def test_headers_in_a_row_serve_as_well(played: Played) -> None:
    trusting = Trusting(read_headers(played.chain))
    assert audited(played.receipts["exit"], trusting).outcome is Outcome.OK


@pytest.mark.parametrize("name", NAMES)
def test_without_headers_a_block_is_open(played: Played, name: str) -> None:
    verdict = audited(played.receipts[name], Trusting())
    has_block = name != "deposit given back"  # both of its transactions are on Solana
    assert verdict.outcome is (Outcome.UNDECIDED if has_block else Outcome.OK)
    assert failures(verdict) == []


def test_headers_that_do_not_reach_there_leave_it_open(played: Played) -> None:
    few = Trusting(read_headers(played.chain[: 80 * 50]))
    assert audited(played.receipts["exit"], few).outcome is Outcome.UNDECIDED


def test_what_nobody_can_prove_offline_is_attested(played: Played, trusting: Trusting) -> None:
    verdict = audited(played.receipts["exit"], trusting)
    attested = " ".join(check.text for check in verdict.checks if check.outcome is Outcome.ATTESTED)
    assert "the cluster executed it in slot" in attested
    assert "descends from its issuance" in attested


def test_a_receipt_has_the_whole_crossing(played: Played) -> None:
    told = orjson.loads(played.receipts["exit"])
    assert told["outcome"] == "RECEIPTED"
    assert told["message"]["units"] == "600000000"
    assert told["message"]["source_asset"]
    assert told["log"][0]["to"] == "OBSERVED"
    assert told["proofs"]["bsv"].keys() == {told["source"]["transaction"], told["proofs"]["completion"]}
    assert told["proofs"]["solana"].keys() == {told["destination"]["transaction"]}


# Whose


def test_another_bridge_or_issuer_than_expected(played: Played, trusting: Trusting) -> None:
    for wanted in (
        Trusting(trusting.headers, bridge=STRANGER.public),
        Trusting(trusting.headers, issuer=STRANGER.public),
    ):
        assert "expected" in failures(audited(played.receipts["deposit"], wanted))[0]


def test_a_receipt_under_a_strangers_key_is_none_of_the_bridges(played: Played, trusting: Trusting) -> None:
    forged = edited(played.receipts["deposit"], ("bridge",), STRANGER.public.hex(), key=STRANGER)
    assert any("is the bridge expected" in text for text in failures(audited(forged, trusting)))
    # Who expects nobody is told whose word it is.
    told = audited(forged, Trusting(trusting.headers)).checks
    assert any(STRANGER.public.hex() in check.text and check.outcome is Outcome.ATTESTED for check in told)


# Changed by others


@pytest.mark.parametrize("name", NAMES)
def test_no_member_can_be_changed(played: Played, trusting: Trusting, name: str) -> None:
    data = played.receipts[name]
    for path, value in leaves(orjson.loads(data)):
        changed = edited(data, path, another(value))
        assert audited(changed, trusting).outcome is Outcome.FAILED, path


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_can_be_changed(played: Played, trusting: Trusting, name: str) -> None:
    data = played.receipts[name]
    for at in range(0, len(data), max(1, len(data) // BYTES_SAMPLED)):
        for bit in (1, 0x20):  # a digit becomes another one; a letter its capital
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            assert audited(changed, trusting).outcome is Outcome.FAILED, (at, data[at - 20 : at + 20])


HOSTILE = (-1, 2**53 - 1, 1.5, True, None, "", "-1", "9" * 30, "x" * 70_000, "0.0.0", [], {}, [[]])


@pytest.mark.parametrize("name", ["deposit", "exit"])
def test_hostile_members_are_told_and_no_more(played: Played, trusting: Trusting, name: str) -> None:
    """Signed by whoever hands it out, so that everything behind the signature meets them."""
    data = played.receipts[name]
    for path, was in leaves(orjson.loads(data)):
        for value in HOSTILE:
            if value != was and path != ("written_ms",):
                audited(edited(data, path, value, key=None if path == ("message", "id") else ISSUER), trusting)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_receipt_that_is_cut_off_or_goes_on_is_none(played: Played, trusting: Trusting, cut: int) -> None:
    data = played.receipts["exit"]
    assert audited(data[:cut], trusting).outcome is Outcome.FAILED
    assert audited(data + b"\n", trusting).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{}", b"1e999", b"[" * 5000, b'{"format":"metawatt bridge receipt"}']
)
def test_what_is_no_receipt_is_told(text: bytes) -> None:
    verdict = audited(text, Trusting())
    assert verdict.receipt is None
    assert verdict.outcome is Outcome.FAILED


def test_a_member_more_than_there_is(played: Played) -> None:
    for path in ((), ("message",), ("proofs",), ("asset",), ("source",)):
        with pytest.raises(ReceiptMalformed):
            read_receipt(edited(played.receipts["exit"], (*path, "note"), "more"))


# A bridge that lies


def _lies(name: str, played: Played) -> list[tuple[tuple[str | int, ...], Any]]:
    """Members whose every other value is a lie that the receipt itself gives away."""
    told = orjson.loads(played.receipts[name])
    other = str(Keypair().pubkey())
    lies: list[tuple[tuple[str | int, ...], Any]] = [
        (("message", "id"), "00" * 32),
        (("message", "units"), str(int(told["message"]["units"]) + 1_000_000)),
        (("message", "recipient"), other),
        (("message", "direction"), "out" if told["message"]["direction"] == "in" else "in"),
        (("chains", "solana"), other),
        (("chains", "bsv"), "11" * 32),
        (("asset", "mint"), other),
        (("asset", "owner"), other),
        (("asset", "custody"), other),
        (("asset", "decimals"), 6),
        (("outcome",), "REFUNDED" if told["outcome"] == "RECEIPTED" else "RECEIPTED"),
        (("outcome",), "HELD"),
        (("source", "transaction"), _other_transaction(told["source"]["transaction"])),
        (("destination", "transaction"), _other_transaction(told["destination"]["transaction"])),
        (("log", 0, "to"), "ACCOUNTED"),
        (("log",), told["log"][:-1]),
        (("log",), told["log"][1:]),
        (("log",), []),
    ]
    if told["source"]["chain"] == "solana" or told["destination"]["chain"] == "solana":
        lies.append((("asset", "mode"), "burn"))
    if told["marker"] is not None:
        lies += [(("marker", member), other) for member in ("address", "base", "seed")]
        lies += [(("marker",), None), (("destination", "account"), other)]
    else:
        lies.append((("marker",), {"address": other, "base": other, "seed": "1"}))
    for index, (_, output, wh) in enumerate(told["destination"].get("certificates", [])):
        lies += [
            (("destination", "certificates", index, 2), wh + 1),
            (("destination", "certificates", index, 1), output + 1),
            (("destination", "certificates", index, 0), "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"),
            (("destination", "certificates"), []),
        ]
    return lies


def _other_transaction(text: str) -> str:
    return "22" * 32 if len(text) == 64 else str(Signature.new_unique())


@pytest.mark.parametrize("name", NAMES)
def test_a_bridge_that_lies_is_given_away(played: Played, trusting: Trusting, name: str) -> None:
    for path, value in _lies(name, played):
        verdict = audited(edited(played.receipts[name], path, value, key=ISSUER), trusting)
        assert verdict.outcome is Outcome.FAILED, (path, value)


def test_a_lookalike_mint_is_not_the_mirrored_one(played: Played, trusting: Trusting) -> None:
    """The receipt is about another mint than the transactions are, and fits together otherwise."""
    whole = orjson.loads(played.receipts["deposit"])
    owner, mint = Pubkey.from_string(whole["asset"]["owner"]), Keypair().pubkey()
    program = Pubkey.from_string(whole["asset"]["token_program"])
    whole["asset"] |= {"mint": str(mint), "custody": str(associated_account(owner, mint, program))}
    forged = anew(canonical(whole), {"source_asset": str(mint)})
    told = failures(audited(forged, trusting))
    assert "it is of another mint" in told
    assert not any("parts that are stated" in text for text in told)


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("deposit", {"units": "1501000000"}, "it is of 1501000000 base units"),
        ("deposit", {"recipient": "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d12"}, "the memo names"),
        ("deposit", {"recipient": "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d12"}, "and not in 0b7cdd5c"),
        ("deposit", {"recipient": "everybody"}, "the message names no recipient"),
        ("exit", {"units": "601000000"}, "it is of 600 Wh, and 601000000 base units crossed"),
        ("exit", {"recipient": str(Pubkey.default())}, "its holder asked for tokens to"),
    ],
)
def test_a_lie_under_the_id_that_follows_from_it(
    played: Played, trusting: Trusting, name: str, changes: dict[str, str], told: str
) -> None:
    verdict = audited(anew(played.receipts[name], changes), trusting)
    assert any(told in text for text in failures(verdict)), failures(verdict)


# Forged blocks


def _with_proof(data: bytes, **changes: Any) -> bytes:
    """The source's proof on BSV changed: it is not under the bridge's signature."""
    whole = orjson.loads(data)
    whole["proofs"]["bsv"][whole["source"]["transaction"]] |= changes
    return canonical(whole)


def _forged_block(data: bytes, *, bits: bytes = bytes.fromhex("ffff7f20")) -> bytes:
    """A block of the forger's own, with the transaction in it and, by the easy target, with work."""
    whole = orjson.loads(data)
    proof = whole["proofs"]["bsv"][whole["source"]["transaction"]]
    txids = [bytes(31) + b"\x01", bytes.fromhex(whole["source"]["transaction"])[::-1]]
    head = bytes.fromhex(proof["header"])[:36] + merkle_root(txids) + bytes.fromhex(proof["header"])[68:72] + bits
    nonces = (head + nonce.to_bytes(4, "little") for nonce in range(64))
    header = next((each for each in nonces if sha256(sha256(each).digest()).digest()[-1] < 0x7F), head + bytes(4))
    path = bump_for(txids, 1, proof["height"])
    return _with_proof(data, header=header.hex(), path=path.hex())


def test_a_block_of_the_forgers_own_is_not_trusted(played: Played, trusting: Trusting) -> None:
    forged = _forged_block(played.receipts["exit"])
    assert any("another block there" in text for text in failures(audited(forged, trusting)))
    assert audited(forged, Trusting(read_headers(played.chain))).outcome is Outcome.FAILED
    assert audited(forged, Trusting()).outcome is Outcome.UNDECIDED


def test_a_header_with_less_work_than_it_states(played: Played) -> None:
    forged = _forged_block(played.receipts["exit"], bits=bytes.fromhex("ffff001d"))
    assert any("less work" in text for text in failures(audited(forged, Trusting())))


def test_a_merkle_path_of_another_block(played: Played, trusting: Trusting) -> None:
    other = orjson.loads(played.receipts["deposit"])
    (proof,) = other["proofs"]["bsv"].values()
    forged = _with_proof(
        played.receipts["exit"], path=proof["path"], header=proof["header"], height=proof["height"]
    )
    assert any("is not proven" in text for text in failures(audited(forged, trusting)))


def test_half_a_proof_is_none(played: Played, trusting: Trusting) -> None:
    data = played.receipts["exit"]
    assert audited(_with_proof(data, path=None), trusting).outcome is Outcome.FAILED
    assert audited(_with_proof(data, header=None), trusting).outcome is Outcome.UNDECIDED
    assert audited(_with_proof(data, header=None, path=None, height=None), trusting).outcome is Outcome.UNDECIDED


def test_what_withdraws_a_certificate_may_be_in_no_block_yet(played: Played, trusting: Trusting) -> None:
    whole = orjson.loads(played.receipts["exit"])
    completion = whole["proofs"]["bsv"][whole["proofs"]["completion"]]
    completion |= {"path": None, "header": None, "height": None}
    assert audited(canonical(whole), trusting).outcome is Outcome.OK
    whole["proofs"]["completion"] = None
    assert audited(canonical(whole), trusting).outcome is Outcome.FAILED


# Several receipts


def test_the_same_receipt_twice_proves_one_crossing(played: Played, trusting: Trusting) -> None:
    verdicts = [audited(played.receipts[name], trusting) for name in NAMES]
    assert contradictions(verdicts) == []
    assert contradictions([verdicts[0], verdicts[0]])


def test_two_messages_of_one_event_or_under_one_marker(played: Played, trusting: Trusting) -> None:
    for name, told in (("deposit", "source event"), ("exit", "marker")):
        data = played.receipts[name]
        twin = anew(data, {"recipient": "somebody else"})
        found = contradictions([audited(data, trusting), audited(twin, trusting)])
        assert any(check.text.startswith(told) for check in found)


# Headers


@pytest.mark.parametrize(
    "text", [b"", b"x" * 79, b"{", b'{"1": "00"}', b'{"one": "' + b"00" * 32 + b'"}', b'{"1": 5}']
)
def test_what_are_no_headers(text: bytes) -> None:
    with pytest.raises(HeadersMalformed):
        read_headers(text)


def test_headers_must_follow_each_other(played: Played) -> None:
    with pytest.raises(HeadersMalformed, match="header 1 does not follow"):
        read_headers(played.chain[:80] + played.chain[160:240])


def test_hashes_serve_as_headers(played: Played) -> None:
    hashes = {
        height: sha256(sha256(bytes.fromhex(raw)).digest()).digest()[::-1].hex()
        for height, raw in orjson.loads(played.headers).items()
    }
    trusting = Trusting(read_headers(orjson.dumps(hashes)))
    assert audited(played.receipts["automatic"], trusting).outcome is Outcome.OK
