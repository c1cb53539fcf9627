"""Private bundles: signed and kept, told to nobody until they are published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from certificates.token import TOKEN_SATOSHIS, Token
from config.errors import BadRequest, ErrorCode
from energytag.actions import Action
from energytag.compose import Composed
from lookup.records import CERTIFICATES, certificate_record
from overlay.lookup_service import OutputAdmitted, OutputRef
from store.pages import pages
from store.port import Collection, Document, Find, Index, Insert, Reader, Write
from topics.certificates import read_script

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


@dataclass(frozen=True, slots=True)
class PrivateBundle:
    """A bundle that waits: as the index would have it, and the action that its account publishes it by."""

    record: Document
    script: bytes
    beef: bytes
    action_id: str


async def private_bundles(reader: Reader, account_id: str, most: int) -> list[PrivateBundle]:
    """All private bundles of an account; `BadRequest` (BAD_QUERY) when they are more than `most`."""
    found: list[PrivateBundle] = []
    async for rows in pages(reader, PRIVATE, Find("account", {"account_id": account_id})):
        found += [each for row in rows for each in _bundles(row)]
        if len(found) > most:
            raise BadRequest(f"the account has more than {most} private bundles", ErrorCode.BAD_QUERY)
    return found


def _bundles(row: Document) -> Iterator[PrivateBundle]:
    topics = tuple(row["topics"])
    for index, script in enumerate(row["scripts"]):
        token = read_script(script)
        if not isinstance(token, Token):
            continue
        ref = OutputRef(topics[0], row["txid"], index, 0)
        record = certificate_record(OutputAdmitted(ref, TOKEN_SATOSHIS, script, topics, first=True), token)
        if record is not None:
            yield PrivateBundle(dict.fromkeys(CERTIFICATES.fields) | record, script, row["beef"], row["_id"])
