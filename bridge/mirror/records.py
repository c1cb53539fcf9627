"""What the mirror keeps, each collection declared once.

    inbox       source event   what a chain showed, written in the commit that read the chain; becomes a message
    messages    message id     one crossing each
    lots        reading, exit  energy that came to tokens: of which reading, and how much of it is still a token
    releases    signature      Solana transactions, stored before they are sent
    issues      txid           BSV transactions of the bridge's own, until they are final
    sources     signature      Solana transactions that tokens came by
    receipts    message id     the proof of a crossing that ended
    audit       number         the hash-chained log
    outstanding message id     how much of an incoming message is on BSV
    commands    id             what operators ask, carried out by whoever holds the lease
    mirror      name           the log's head, the ledger, limits, pauses

Nothing of a message that has ended is in a partial index, so that a million of them cost nothing.
"""

from __future__ import annotations

from typing import Final

from store.port import Collection, Index

INBOX: Final = Collection(
    "bridge_inbox",
    key="bytes",
    fields={"lane": "text", "at_ms": "int"},
    indexes=(Index("lane", ("lane", "at_ms"), partial=True),),
)
"""Key: the source event (`message.solana_event`, or the outpoint). `lane` is the direction while nobody made a
message of it, then None. Of Solana: `kind`, `units`, `slot`, `block_time`, `memos` (the bridge's that count for
it), `recipient` (what the one memo says, or the account of the reading's meter; else empty), `source` (token
account, base58 or None), `authority`, `readings` (keys).
Of BSV: `address`, `issuance_id`, `units`, so that a message can be made without the chain's own rows, which an
eviction may take."""

MESSAGES: Final = Collection(
    "bridge_messages",
    key="bytes",
    fields={
        "direction": "text",
        "state": "text",
        "seq": "int",
        "lane": "text",
        "due_ms": "int",
        "open_ms": "int",
        "source_tx": "bytes",
        "destination_tx": "bytes",
        "units": "int",
    },
    indexes=(
        Index("seq", ("seq",)),
        Index("state", ("state", "seq")),
        Index("due", ("lane", "due_ms"), partial=True),
        Index("open", ("open_ms", "direction", "state"), partial=True),
        Index("source", ("source_tx",)),
        Index("destination", ("destination_tx",), partial=True),
    ),
)
"""`message.Message`; `lane` is the queue that it is due in (`message.lane_of`), None while it is in none. `facts`,
by who writes them:

    observing     in: slot, block_time, memos, source, authority, readings (keys, hex)
                  out: nothing more; the token is read from the chain's rows
    validating    in: account_id, or identity (hex) of a recipient that has no account here
                  out: origin (hex id of the message that the certificate mirrors), issuance_id, range
                  ([start, end]), owner (hex, the key that `exit.owner` binds a refund to), previous (hex, the key
                  that the certificate was locked to before)
    accounting    accounted (True), lots ([key, units] each), queued (delay or limit: for what it is QUEUED),
                  waiting_wh (what it waits for of the limit)
    delivering    issuances ([issuance id, output index, Wh] each), completion (txid, hex), earlier (txids on BSV,
                  hex, of attempts before the last); on Solana slot (of a refund refund_slot), marker and paid_to
                  (base58), alone (True, of one that spoilt a transaction: it gets its own)
"""

LOTS: Final = Collection(
    "bridge_lots",
    key="text",
    fields={"free": "int"},
    indexes=(Index("free", ("free",), partial=True),),
)
"""Key: of a mint the reading's key in hex, of an exit the message's id in hex. `free` is `slot`, the place in the
line, while it stands there, then None. `slot` (of the mint or the release), `reading` (key), `units`, `left` (base
units), `meter`, `device_id`, `account_id`, `interval_start_ms`, `interval_secs`, `from` (`mint`, or the hex id of
the message that brought it back), `is_reserved`, `is_elsewhere`, `rev`: `provenance.lots.Lot`."""

RELEASES: Final = Collection(
    "bridge_releases",
    key="bytes",
    fields={"open_ms": "int"},
    indexes=(Index("open", ("open_ms",), partial=True),),
)
"""As `bridge.records.ATTEMPTS`, with `messages` in place of `readings`."""

ISSUES: Final = Collection(
    "bridge_issues",
    key="bytes",
    fields={"open_ms": "int", "stage": "int", "height": "int"},
    indexes=(
        Index("open", ("open_ms",), partial=True),
        Index("stage", ("stage", "height"), partial=True),
    ),
)
"""Key: the txid as on the wire. `messages`, `purpose` (issue, refund, complete); `open_ms` until
it is final, or evicted, and so long `stage` (`to_bsv.following.Stage`) and the `height` of its block."""

SOURCES: Final = Collection("bridge_sources", key="bytes")
"""Transactions on Solana that tokens came by, for receipts: a cluster forgets them. Key: the signature; `raw`,
`loaded` (accounts from lookup tables, 32 B each), `slot`. Written with the rows of the inbox."""

RECEIPTS: Final = Collection("bridge_receipts", key="bytes", fields={})
"""`receipt`: the statement, canonical JSON; `signature` (DER) of it; `solana`: [signature, raw bytes] of each
transaction there. `receipts.writing.whole_receipt` puts in the proofs of BSV, and gives what is handed out."""

AUDIT: Final = Collection("bridge_audit", key="int", clustered=True)
"""`book.entry_bytes`: `text` (canonical JSON), `hash` (32 B)."""

OUTSTANDING: Final = Collection("bridge_outstanding", key="bytes", clustered=True)
"""Of each incoming message that is RECEIPTED: `left` base units that are certificates, and may come back; `rev`."""

COMMANDS: Final = Collection(
    "bridge_commands", key="text", fields={"open_ms": "int"}, indexes=(Index("open", ("open_ms",), partial=True),)
)
"""`kind`, `arguments`, `by`, `open_ms` until it was carried out; then `answer` (JSON), or `error` ({code,
message})."""

MIRROR: Final = Collection("bridge_mirror", key="text")
"""`head` (number, hash of the log's last entry), `ledger:<asset>`, `limit:<direction>`, `pause:<direction>`,
`alarm:<alarm>:<subject>` while it stands, `paid:<token account>` (the `slot` in which it was paid first),
`parity:<asset>` (the figures read last). What parity has read for good, and may read anew: `coins:<asset>`,
`movements:<asset>`, `offset:<alarm>:<asset>`."""

MIRROR_COLLECTIONS: Final = (
    INBOX,
    MESSAGES,
    LOTS,
    RELEASES,
    ISSUES,
    SOURCES,
    RECEIPTS,
    AUDIT,
    OUTSTANDING,
    COMMANDS,
    MIRROR,
)
