"""The engine's invariants, verified on what is stored: nothing here is believed that can be recomputed.

    I2  receipts and outputs tell the same story, in every topic
    I3  every input of an applied transaction is spent by it, and by it alone
    I4  every transaction has its raw bytes, which hash to its key, and is proven by its header or stands on stored
        parents; large ones' outputs are in their rows as they are in the bytes

`docs/INVARIANTS.md` says where each is enforced. A store that is in use may be caught between two reads, so
only what is still wrong at a second look is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from config.errors import BadRequest
from overlay.headers import parse_header
from overlay.merkle import Bump
from overlay.outputs import carried
from overlay.records import HEADERS, OUTPUTS, RAWS, SPENDS, TRANSACTIONS, applied, load_stored, raws_of
from overlay.sdk import hash256
from overlay.steak import TopicResult
from overlay.transaction import Transaction, outpoint, show_outpoint
from store.pages import pages
from store.port import Document, Reader

Progress: TypeAlias = Callable[[int, int], None]


async def check_invariants(reader: Reader, progress: Progress | None = None) -> list[str]:
    """Faults, each as a sentence that begins with the invariant's number; empty when all hold."""
    faults = await _look(reader, progress)
    if not faults:
        return []
    again = set(await _look(reader, None))
    return [fault for fault in faults if fault in again]


async def _look(reader: Reader, progress: Progress | None) -> list[str]:
    checks = ((TRANSACTIONS, _transactions), (RAWS, _raws), (OUTPUTS, _outputs), (SPENDS, _spends))
    total = sum([await reader.count(collection) for collection, _ in checks])
    faults: list[str] = []
    done = 0
    for collection, check in checks:
        async for documents in pages(reader, collection):
            faults += await check(reader, documents)
            done += len(documents)
            if progress is not None:
                progress(done, max(done, total))
    return faults


async def _transactions(reader: Reader, documents: list[Document]) -> list[str]:
    raws = await raws_of(reader, documents)
    faults: list[str] = []
    for document in documents:
        name = document["_id"][::-1].hex()
        raw = raws.get(document["_id"])
        if raw is None or hash256(raw) != document["_id"] or len(raw) != document.get("size"):
            faults.append(f"I4: transaction {name} does not have the raw bytes that hash to its txid")
            continue
        transaction = Transaction.parse(raw)
        if document.get("bump") is not None:
            faults += await _proof(reader, document, name)
        else:
            faults += await _parents(reader, transaction, name)
        if document.get("receipts"):
            faults += await _receipts(reader, document, transaction, name)
    return faults


async def _raws(reader: Reader, documents: list[Document]) -> list[str]:
    txids = [document["_id"] for document in documents]
    known = await reader.get_many(TRANSACTIONS, txids)
    return [
        f"I4: raw bytes of {txid[::-1].hex()} are held without the transaction"
        for txid in txids
        if txid not in known
    ]


async def _proof(reader: Reader, document: Document, name: str) -> list[str]:
    header = await reader.get(HEADERS, document["height"])
    if header is None:
        return (
            []
            if document.get("block_hash") is None
            else [f"I4: the block of transaction {name} is not in the chain"]
        )
    try:
        root = Bump.parse_whole(document["bump"]).root_for(document["_id"])
    except BadRequest as error:
        return [f"I4: the Merkle path of transaction {name} is broken: {error.message}"]
    known = parse_header(header["raw"], document["height"])
    if root != known.merkle_root or document["block_hash"] != known.hash:
        return [f"I4: transaction {name} is not proven by block {document['height']}"]
    return []


async def _parents(reader: Reader, transaction: Transaction, name: str) -> list[str]:
    wanted = {spend.source_txid for spend in transaction.inputs}
    found = await reader.get_many(TRANSACTIONS, list(wanted))
    return [f"I4: {txid[::-1].hex()}, a parent of unproven {name}, is not stored" for txid in wanted - found.keys()]


async def _receipts(reader: Reader, document: Document, transaction: Transaction, name: str) -> list[str]:
    faults: list[str] = []
    own = [outpoint(transaction.txid, index) for index in range(len(transaction.outputs))]
    spent = [spend.outpoint for spend in transaction.inputs]
    outputs, spends = await reader.get_each([(OUTPUTS, own), (SPENDS, spent)])
    for topic, wire in document["receipts"].items():
        result = TopicResult.from_wire(wire)
        for index in result.outputs_to_admit:
            output = outputs.get(own[index])
            if output is None or topic not in output["topics"]:
                faults.append(f"I2: output {name}.{index} was admitted by {topic} and is not there")
            elif not carried(transaction, index).items() <= output.items():
                faults.append(f"I4: output {name}.{index} is not in its row as it is in the raw bytes")
        faults += [
            f"I2: {topic} retained input {index} of {name}, and its spend does not say so"
            for index in result.coins_to_retain
            if topic not in (spends.get(spent[index]) or {"kept": ()})["kept"]
        ]
    faults += [
        f"I3: {name} is applied, and {show_outpoint(key)} is not recorded as spent by it"
        for key in spent
        if key not in spends or spends[key]["txid"] != transaction.txid
    ]
    return faults


async def _outputs(reader: Reader, documents: list[Document]) -> list[str]:
    faults: list[str] = []
    owners = await reader.get_many(TRANSACTIONS, list({document["_id"][:32] for document in documents}))
    for document in documents:
        receipts = (owners.get(document["_id"][:32]) or {}).get("receipts") or {}
        index = int.from_bytes(document["_id"][32:], "little")
        faults += [
            f"I2: {topic} holds {show_outpoint(document['_id'])}, and no receipt says that it was admitted"
            for topic in document["topics"]
            if topic not in receipts or index not in receipts[topic]["outputsToAdmit"]
        ]
    return faults


async def _spends(reader: Reader, documents: list[Document]) -> list[str]:
    spenders = await load_stored(reader, {document["txid"] for document in documents})
    parsed = {txid: Transaction.parse(raw) for txid, (_, raw) in spenders.items() if hash256(raw) == txid}
    faults = []
    for document in documents:
        spender, transaction = spenders.get(document["txid"]), parsed.get(document["txid"])
        name = show_outpoint(document["_id"])
        if spender is None or not applied(spender.document):
            faults.append(f"I3: {name} is spent by {document['txid'][::-1].hex()}, which is not applied")
        elif transaction is not None and transaction.inputs[document["input"]].outpoint != document["_id"]:
            faults.append(f"I3: {name} is not what input {document['input']} of its spender spends")
    return faults
