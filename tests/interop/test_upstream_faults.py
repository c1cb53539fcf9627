"""What bsv-sdk 2.4.0's Python side gets wrong, and where this node goes its own way instead.

Each test asserts that a fault is still there. When one fails, upstream has mended it: read what is said
there about the way round, and consider whether it can go.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import ModuleType
from typing import Any, ClassVar

import pytest

from config.errors import BadRequest, ErrorCode
from overlay import pushdrop
from overlay.builder import (
    ALL_FORKID,
    Coin,
    P2pkhSigner,
    TransactionBuilder,
    make_transaction,
    p2pkh_lock,
    sighash,
    write_beef,
)
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.merkle import Bump, MerkleTree
from overlay.sdk import hash256, load_sdk
from overlay.transaction import Input, Output, Transaction
from overlay.verify import SpendJob, VerifyLimits, prepare, run

KEY = PrivateKey.from_int(7)
LOCK = p2pkh_lock(KEY.public)
SELF = {"type": 2}
PROTOCOL = {"securityLevel": 1, "protocol": "metawatt gc"}


@pytest.fixture(scope="module")
def bsv() -> ModuleType:
    return load_sdk()


@pytest.fixture
def template(bsv: ModuleType) -> Any:
    """The SDK's PushDrop with the SDK's own wallet."""
    wallet = load_sdk("bsv.wallet")
    proto = wallet.ProtoWallet(bsv.PrivateKey(7), permission_callback=lambda action: True)
    return load_sdk("bsv.transaction.pushdrop").PushDrop(proto)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """The SDK prints what it does."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


class Trusting:
    """A chain tracker that believes every root."""

    tip_height = 1000

    def root_at(self, height: int) -> bytes:
        return MerkleTree([hash256(b"coinbase"), funding().txid]).root

    async def is_valid_root_for_height(self, root: str, height: int) -> bool:
        return True

    async def current_height(self) -> int:
        return self.tip_height


def funding(satoshis: int = 1000) -> Transaction:
    return make_transaction([Input(hash256(b"coin"), 0, b"", 0xFFFFFFFF)], [Output(satoshis, LOCK)])


def spend(parents: list[tuple[Transaction, int]], outputs: list[int]) -> Transaction:
    builder = TransactionBuilder()
    for parent, index in parents:
        builder.spend(Coin(parent.txid, index, parent.outputs[index]), P2pkhSigner(KEY))
    for satoshis in outputs:
        builder.pay(satoshis, LOCK)
    return builder.build()


def proven(transaction: Transaction, height: int = 5) -> tuple[Transaction, bytes]:
    tree = MerkleTree([hash256(b"coinbase"), transaction.txid])
    return transaction, tree.bump(1, height)


def test_importing_bsv_shadows_other_packages() -> None:
    """Way round: `overlay.sdk.load_sdk` takes the entry out again."""
    program = (
        "import sys\nfrom pathlib import Path\n{}\nsys.exit(any(Path(entry).name == 'bsv' for entry in sys.path))\n"
    )
    for statement, found in (("import bsv", 1), ("from overlay.sdk import load_sdk; load_sdk()", 0)):
        done = subprocess.run([sys.executable, "-c", program.format(statement)], check=False)
        assert done.returncode == found


def test_pushdrop_lock_does_not_sign(template: Any) -> None:
    """Way round: `overlay.pushdrop.lock`, with the signature made by `overlay.keys`."""
    script = template.lock([b"field"], PROTOCOL, "1", SELF, for_self=True, include_signature=True)
    decoded = pushdrop.decode(bytes.fromhex(script))
    assert decoded is None or decoded.fields[-1] == b"\x00"


def test_pushdrop_unlock_does_not_unlock(bsv: ModuleType, template: Any) -> None:
    """Way round: `overlay.pushdrop.unlock`."""
    script = bytes.fromhex(template.lock([b"field"], PROTOCOL, "1", SELF, for_self=True, include_signature=False))
    coin = make_transaction([Input(hash256(b"coin"), 0, b"", 0xFFFFFFFF)], [Output(1000, script)])
    unsigned = make_transaction([Input(coin.txid, 0, b"", 0xFFFFFFFF)], [Output(900, LOCK)])
    theirs = bsv.Transaction.from_beef(write_beef([proven(coin), (unsigned, None)]))
    theirs_signed = bytes(template.unlock(PROTOCOL, "1", SELF, prev_locking_script=script).sign(theirs, 0))
    key = KEY.derive((1, "metawatt gc"), "1", "self")
    ours_signed = pushdrop.unlock(key, sighash(unsigned, 0, coin.outputs[0]))

    def spend_with(unlocking: bytes) -> SpendJob:
        spent = Input(coin.txid, 0, unlocking, 0xFFFFFFFF)
        return SpendJob(make_transaction([spent], unsigned.outputs), coin.outputs)

    run(spend_with(ours_signed))
    with pytest.raises(BadRequest) as refused:
        run(spend_with(theirs_signed))
    assert refused.value.code is ErrorCode.SCRIPT_INVALID


def test_pushdrop_decode_prints() -> None:
    """Way round: `overlay.pushdrop.decode`."""
    script = pushdrop.lock(KEY.public, [b"field"])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        load_sdk("bsv.transaction.pushdrop").PushDrop.decode(script)
    assert printed.getvalue()


async def test_verify_accepts_inflation(bsv: ModuleType) -> None:
    """Way round: `overlay.verify` conserves value."""
    coin, bump = proven(funding(1000))
    child = make_transaction([Input(coin.txid, 0, b"", 0xFFFFFFFF)], [Output(10**9, LOCK)])
    digest = sighash(child, 0, coin.outputs[0])
    unlocking = P2pkhSigner(KEY).unlock(digest, ALL_FORKID)
    beef = write_beef(
        [
            (coin, bump),
            (make_transaction([child.inputs[0]._replace(unlocking_script=unlocking)], child.outputs), None),
        ]
    )
    assert await bsv.Transaction.from_beef(beef).verify(Trusting())
    with pytest.raises(BadRequest) as refused:
        prepare(parse_envelope(beef), Trusting(), VerifyLimits())
    assert refused.value.code is ErrorCode.VALUE_NOT_CONSERVED


async def test_verify_is_exponential_on_diamonds(bsv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Way round: `overlay.envelope` orders the ancestry once, and `overlay.verify` runs each script once."""
    runs = 0
    module = sys.modules[bsv.Transaction.__module__]
    make_spend = module.Spend

    def counted(parameters: Any) -> Any:
        nonlocal runs
        runs += 1
        return make_spend(parameters)

    monkeypatch.setattr(module, "Spend", counted)
    parent, bump = proven(funding(1000))
    chain: list[tuple[Transaction, bytes | None]] = [(parent, bump), (spend([(parent, 0)], [400, 400]), None)]
    depth = 6
    for level in range(depth):
        last = chain[-1][0]
        value = 380 - 10 * level
        chain.append((spend([(last, 0), (last, 1)], [value, value]), None))
    assert await bsv.Transaction.from_beef(write_beef(chain)).verify(Trusting())
    assert runs > 2**depth


def test_proof_of_a_block_of_one_is_refused(bsv: ModuleType) -> None:
    """Way round: `overlay.merkle.Bump`."""
    txid = hash256(b"alone")
    raw = MerkleTree([txid]).bump(0, 5)
    assert Bump.parse_whole(raw).root_for(txid) == txid
    with pytest.raises(ValueError, match="Missing hash"):
        bsv.MerklePath.from_hex(raw.hex())


def test_beef_v1_is_read_without_its_ancestors() -> None:
    """Way round: `overlay.envelope.parse_envelope`."""
    parent, bump = proven(funding())
    beef = write_beef([(parent, bump), (spend([(parent, 0)], [900]), None)])
    read = load_sdk("bsv.transaction.beef").new_beef_from_bytes(beef)
    assert not read.bumps
    assert len(parse_envelope(beef).members) == 2


def test_truncated_beef_is_accepted(bsv: ModuleType) -> None:
    """Way round: `overlay.envelope` is strict about ends."""
    parent, bump = proven(funding())
    beef = write_beef([(parent, bump), (spend([(parent, 0)], [900]), None)])
    longer = beef + b"\x00"
    assert bsv.Transaction.from_beef(longer) is not None
    with pytest.raises(BadRequest):
        parse_envelope(longer)


class Upstream(BaseHTTPRequestHandler):
    """Answers every POST as the tests want it, and notes what came."""

    answer: ClassVar[Any] = {}
    seen: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        body = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        """Nothing: the tests' output is not a log."""


@pytest.fixture
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    Upstream.seen.clear()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_facilitator_sends_topics_as_a_comma_list(upstream: str) -> None:
    """Way round: `/submit` takes both forms of `x-topics`."""
    ship = load_sdk("bsv.overlay_tools.ship_broadcaster")
    tagged = ship.TaggedBEEF(beef=b"\x01", topics=["tm_a", "tm_b"])
    await ship.HTTPSOverlayBroadcastFacilitator(allow_http=True).send(upstream, tagged)
    assert Upstream.seen[0]["x-topics"] == "tm_a,tm_b"


async def test_headers_service_never_confirms(upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Way round: the node keeps a header chain of its own."""
    monkeypatch.setattr(Upstream, "answer", {"confirmationState": "CONFIRMED"})
    tracker = load_sdk("bsv.chaintrackers.block_headers_service").BlockHeadersService(upstream)
    assert not await tracker.is_valid_root_for_height("00" * 32, 5)
