"""Private bundles: signed and kept, told to nobody until they are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from energytag.actions import Action
from energytag.compose import Composed
from store.port import Collection, Index, Insert, Write

PRIVATE: Final = Collection(
    "energytag_private",
    key="text",
    fields={"account_id": "text"},
    indexes=(Index("account", ("account_id",)),),
)
"""Key: the id of the action that made it; `txid`, `beef`, `topics`, `scripts` of the certificate outputs, and
`change`: [key ID, index], None when nothing was left."""


def keep_private(action: Action, composed: Composed, topics: Sequence[str]) -> Write:
    """The row of a transaction that is not submitted yet."""
    change = composed.change
    return Insert(
        PRIVATE,
        {
            "_id": action.action_id,
            "account_id": next((each.holder.account_id for each in composed.made if each.holder), None),
            "txid": composed.transaction.txid,
            "beef": composed.beef,
            "topics": list(topics),
            "scripts": [each.script for each in composed.made],
            "change": None if change is None else [change.key_id, change.coin.index],
        },
    )
