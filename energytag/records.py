"""What the whole registry rests on beside the overlay's index, collection by collection.

Certificates themselves are not here: they are the overlay's tokens, found through the index `ls_metawatt`. What
serves one noun alone stands beside it (`recurring.py`, `storage_records.py`, `measurements.py` …);
`all_collections.py` names them all.

    actions        action id          every mutating call, from received to resolved or rejected
    action_parts   action id + piece  what of an action that takes several transactions is done
    organisations, users, accounts, devices     the directory; memberships: which users act for an account
    logins         nonce              answered challenges, so that none is answered twice
    intervals      device + start     the interval of an issuance: no second one, no overlap
    numbers        device             the next certificate number, and how far issuance has come
    basket         outpoint           METAWATTS: the key ID and sender of each token that the node made

An interval's row goes when its issuance is withdrawn whole, so that it can be issued again.
"""

from __future__ import annotations

from typing import Final

from store.port import Collection, Index

ACTIONS: Final = Collection(
    "energytag_actions",
    key="text",
    fields={
        "seq": "int",
        "queued": "int",
        "kind": "text",
        "state": "text",
        "account_id": "text",
        "user_id": "text",
    },
    indexes=(
        Index("queued", ("queued", "seq"), partial=True),
        Index("seq", ("seq",)),
        Index("account", ("account_id", "seq"), partial=True),
        Index("user", ("user_id", "seq"), partial=True),
    ),
)
"""`queued` is 1 while the queue has to deal with the action. The other fields are those of `actions.Action`."""

ACTION_PARTS: Final = Collection("energytag_action_parts", key="bytes", clustered=True)
"""Key: the action's 16 bytes and the number of its first piece (u32 BE); `count` pieces from there are done."""

ORGANISATIONS: Final = Collection(
    "energytag_organisations",
    key="text",
    fields={"business_id": "int", "name": "text"},
    indexes=(Index("name", ("name",)),),
)
USERS: Final = Collection(
    "energytag_users",
    key="text",
    fields={"organisation_id": "text", "identity_key": "bytes"},
    indexes=(
        Index("organisation", ("organisation_id",)),
        Index("identity", ("identity_key",), partial=True),
    ),
)
ACCOUNTS: Final = Collection(
    "energytag_accounts",
    key="text",
    fields={"organisation_id": "text", "name": "text", "identity_key": "bytes"},
    indexes=(
        Index("organisation", ("organisation_id",)),
        Index("name", ("name",)),
        Index("identity", ("identity_key",), partial=True),
    ),
)
MEMBERSHIPS: Final = Collection(
    "energytag_memberships",
    key="text",
    fields={"account_id": "text", "user_id": "text"},
    indexes=(Index("account", ("account_id", "user_id")), Index("user", ("user_id", "account_id"))),
)
"""Key: `<account id>/<user id>`."""
DEVICES: Final = Collection(
    "energytag_devices",
    key="text",
    fields={"account_id": "text"},
    indexes=(Index("account", ("account_id",)),),
)
DIRECTORY: Final = (ORGANISATIONS, USERS, ACCOUNTS, MEMBERSHIPS, DEVICES)

LOGINS: Final = Collection(
    "energytag_logins", key="bytes", fields={"expires_ms": "int"}, indexes=(Index("expires", ("expires_ms",)),)
)
"""Key: the nonce of a login's challenge that was used, until the challenge would have ended."""

INTERVALS: Final = Collection("energytag_intervals", key="bytes", clustered=True)
"""Key: `intervals.interval_key`; document: `intervals.interval_row`."""
NUMBERS: Final = Collection("energytag_numbers", key="bytes", clustered=True)
"""Key: `intervals.series_key`; `next` number, `last_end_ms`: nothing issued ends later."""

BASKET: Final = Collection("basket", key="bytes", clustered=True)
"""`account_id` of the holder, `key_id`, and `sender`: 33 bytes, or b"anyone"."""

CORE: Final = (ACTIONS, ACTION_PARTS, *DIRECTORY, LOGINS, INTERVALS, NUMBERS, BASKET)

REBUILD_STATE: Final = "rebuild:registry"
"""In the overlay's `STATE` while the registry is built anew, and after that was interrupted."""
