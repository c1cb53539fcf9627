"""Single outputs, read without the rest of their transactions where that can be spared.

The rows of a large transaction's admitted outputs carry satoshis and script. So one certificate of an issuance of
thousands is read for what it weighs itself, while small transactions, of which there are most, are written once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from overlay.records import OUTPUTS, load_raws
from overlay.transaction import Output, Transaction, split_outpoint
from store.port import Document, Key, Reader

LARGE_RAW_BYTES: Final = 16 * 1024
"""A transaction of more raw bytes than these has its admitted outputs' scripts in their rows as well."""


def carried(transaction: Transaction, index: int) -> dict[str, Any]:
    """The fields with which an admitted output's row carries the output; none when the transaction is small."""
    if len(transaction.raw) <= LARGE_RAW_BYTES:
        return {}
    satoshis, script = transaction.outputs[index]
    return {"satoshis": satoshis, "script": script}


async def load_outputs(reader: Reader, outpoints: Sequence[bytes]) -> dict[bytes, Output]:
    """These outputs, admitted or not, of stored transactions; those that are not held are left out."""
    return await complete_outputs(reader, outpoints, await reader.get_many(OUTPUTS, outpoints))


async def complete_outputs(
    reader: Reader, outpoints: Iterable[bytes], rows: Mapping[Key, Document]
) -> dict[bytes, Output]:
    """`load_outputs` when their rows, as far as there are any, have been read already."""
    found: dict[bytes, Output] = {}
    missing: list[bytes] = []
    for key in outpoints:
        row = rows.get(key)
        if row is not None and "script" in row:
            found[key] = Output(row["satoshis"], row["script"])
        else:
            missing.append(key)
    if missing:
        found |= await _parsed_outputs(reader, missing)
    return found


async def _parsed_outputs(reader: Reader, outpoints: Iterable[bytes]) -> dict[bytes, Output]:
    """Outputs out of raw bytes, each transaction parsed once."""
    wanted = {key: split_outpoint(key) for key in outpoints}
    raws = await load_raws(reader, {txid for txid, _ in wanted.values()})
    made = {txid: Transaction.parse(raw).outputs for txid, raw in raws.items()}
    return {key: made[txid][index] for key, (txid, index) in wanted.items() if index < len(made.get(txid, ()))}
