"""A receipt: the statement of one crossing, under the bridge's signature, with what proves it.

    {…statement, "signature": <hex>,
     "proofs": {"solana": {<signature>: <raw>}, "bsv": {<txid>: {…}}, "completion": <txid> or null}}

Canonical JSON (RFC 8785), to the byte. The statement names its transactions by what commits to their bytes, so that
the bridge's signature over it holds for the proofs too. Three things are outside of the signature, for they may be
newer than it, and prove themselves: Merkle paths and headers, for a block that is replaced takes its proof with it;
and the *completion*, the transaction that withdraws an exit's certificate, which spends the locked coin and is
signed by the bridge's key. The signature is the bridge's (BRC-43), with `RECEIPT_PROTOCOL`, the message's id in hex
as key ID, counterparty `anyone`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from basket.keyring import RECEIPT_PROTOCOL
from bridge.mirror.receipts.statement import ReceiptMalformed, Statement, read_statement, whole
from certificates.canonical import canonical
from config.errors import MetawattError
from overlay.keys import verify_for_anyone
from overlay.transaction import txid_from_hex

MAX_BYTES: Final = 16_000_000
"""A receipt holds a transaction of up to 1,000 certificates, in hex, and one that withdraws as many."""
_AROUND: Final = frozenset({"signature", "proofs"})


@dataclass(frozen=True, slots=True)
class BsvProof:
    """A transaction on BSV: its raw bytes, and where it stands in the chain, as far as that is proven. `path` is a
    BUMP (BRC-74), `header` the block's 80 bytes."""

    raw: bytes
    height: int | None = None
    path: bytes | None = None
    header: bytes | None = None

    def told(self) -> dict[str, Any]:
        return {
            "raw": self.raw.hex(),
            "height": self.height,
            "path": None if self.path is None else self.path.hex(),
            "header": None if self.header is None else self.header.hex(),
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """A whole receipt. Proofs by signature (base58), and by txid (hex, display order); `completion` is a txid, as
    on the wire."""

    statement: Statement
    signature: bytes
    solana: Mapping[str, bytes]
    bsv: Mapping[str, BsvProof]
    completion: bytes | None = None

    @property
    def is_signed(self) -> bool:
        """Whether the bridge that it names signed its statement."""
        return is_signed(self.statement, self.statement.text(), self.signature)

    def document(self) -> bytes:
        """Canonical JSON: the receipt as it is handed out."""
        proofs = {
            "solana": {name: raw.hex() for name, raw in self.solana.items()},
            "bsv": {name: proof.told() for name, proof in self.bsv.items()},
            "completion": None if self.completion is None else self.completion[::-1].hex(),
        }
        return canonical({**self.statement.told(), "signature": self.signature.hex(), "proofs": proofs})


def is_signed(statement: Statement, text: bytes, signature: bytes) -> bool:
    """Whether the bridge that a statement names signed its text."""
    key_id = statement.message.id.hex()
    return verify_for_anyone(signature, sha256(text).digest(), statement.bridge, RECEIPT_PROTOCOL, key_id)


def read_receipt(data: bytes) -> Receipt:
    """The receipt that these bytes are; `ReceiptMalformed` when they are another text than it is written as, which
    any unknown member, number, spelling or blank makes them."""
    if len(data) > MAX_BYTES:
        raise ReceiptMalformed(f"a receipt has at most {MAX_BYTES} bytes, not {len(data)}")
    try:
        value = orjson.loads(data)
        receipt = _read(value)
        written = receipt.document()
    except orjson.JSONDecodeError as error:
        raise ReceiptMalformed(f"a receipt is JSON: {error}") from error
    except MetawattError as error:
        raise ReceiptMalformed(error.message) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ReceiptMalformed(f"not a receipt: {type(error).__name__}: {error}") from error
    if written != data:
        raise ReceiptMalformed("not as a receipt is written (RFC 8785), or with unknown members")
    return receipt


def _read(value: Mapping[str, Any]) -> Receipt:
    statement = read_statement({name: each for name, each in value.items() if name not in _AROUND})
    proofs = value["proofs"]
    return Receipt(
        statement,
        bytes.fromhex(value["signature"]),
        {name: bytes.fromhex(raw) for name, raw in proofs["solana"].items()},
        {name: _proof(proof) for name, proof in proofs["bsv"].items()},
        None if proofs["completion"] is None else txid_from_hex(proofs["completion"]),
    )


def _proof(value: Mapping[str, Any]) -> BsvProof:
    path, header, height = value["path"], value["header"], value["height"]
    return BsvProof(
        bytes.fromhex(value["raw"]),
        None if height is None else whole(height),
        None if path is None else bytes.fromhex(path),
        None if header is None else bytes.fromhex(header),
    )
