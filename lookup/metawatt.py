"""`ls_metawatt`: certificates found by what they say, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from typing import Final

from config.settings import Settings
from lookup.cursor import encode_cursor
from lookup.partition import partition
from lookup.query import Aggregate, Listing, Ranges, parse_query
from lookup.recorder import writes_for
from lookup.records import COLLECTIONS
from lookup.search import Answer, search
from lookup.totals import aggregate
from overlay.lookup_service import (
    AdmissionMode,
    Event,
    Formula,
    Found,
    Freeform,
    Question,
    SpendMode,
)
from overlay.topic import Metadata
from overlay.transaction import split_outpoint
from store.port import Collection, Reader, Write
from topics.names import CERTIFICATES

NAME: Final = "ls_metawatt"
VERSION: Final = "1.0.0"


class MetawattLookup:
    """The lookup service of all certificate topics. Stateless: everything it knows is in its collections."""

    name = NAME
    admission_mode = AdmissionMode.WHOLE_TX
    spend_mode = SpendMode.WHOLE_TX
    wants_proofs = False
    metadata = Metadata(
        NAME, "Granular energy certificates by source, region, device, period, owner and status.", version=VERSION
    )

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits

    @property
    def collections(self) -> tuple[Collection, ...]:
        return COLLECTIONS

    @cached_property
    def documentation(self) -> str:
        text = files("lookup").joinpath("metawatt.md").read_text("utf-8")
        for name in ("lookup_limit", "lookup_scan", "lookup_history"):
            text = text.replace("{" + name + "}", str(getattr(self._limits, name)))
        return text

    def serves(self, topic: str) -> bool:
        return topic == CERTIFICATES or topic.startswith(CERTIFICATES + "_")

    async def writes_for(self, event: Event, reader: Reader) -> Sequence[Write]:
        return await writes_for(event, reader)

    async def lookup(self, question: Question, reader: Reader) -> Formula | Freeform:
        """A formula of outpoints for a listing, freeform for sums and ranges; see `metawatt.md`."""
        now_secs = question.now_ms // 1000
        match parse_query(question.query, self._limits):
            case Listing() as listing:
                answer = await search(listing, reader, now_secs, self._limits.lookup_scan)
                return _formula(listing, answer)
            case Aggregate() as sums:
                return Freeform(await aggregate(sums, reader, now_secs, self._limits))
            case Ranges(issuance_id):
                return Freeform(await partition(issuance_id, reader, now_secs, self._limits.lookup_scan))


def _formula(listing: Listing, answer: Answer) -> Formula:
    cursor = None if answer.end is None else encode_cursor(answer.end, listing.digest)
    found = [Found(*split_outpoint(each.record["_id"]), listing.history, each.context) for each in answer.shown]
    return Formula(found, cursor)
