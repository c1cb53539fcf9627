"""Again from the action log and the overlay: what was imported, and is not to be imported once more."""

from __future__ import annotations

from collections.abc import Iterable

from certificates.bundle import Bundle
from certificates.ranges import Range, merge
from certificates.token import Token
from energytag.actions import Action, Kind, State
from energytag.imports import ATTRIBUTE, IMPORTED, imported_here
from overlay.records import load_raws
from overlay.transaction import Transaction
from store.port import Put, Store, Write
from topics.certificates import read_script


class Imports:
    """The numbers of source issuances that actions have claimed, and what was issued for them."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[Range]] = {}
        self._txids: dict[bytes, str] = {}

    def take(self, actions: Iterable[Action]) -> None:
        """An import counts from when it was decided."""
        for action in actions:
            decided = action.state is State.RESOLVED or action.memo is not None
            if action.kind is Kind.IMPORT and decided:
                for attributes in action.request["bundles"]:
                    bundle = Bundle(attributes)
                    self._ranges.setdefault(bundle.issuance_id, []).append(bundle.range)
                self._txids |= {bytes.fromhex(txid)[::-1]: action.action_id for txid in action.txids}

    async def writes(self, store: Store) -> list[Write]:
        writes: list[Write] = [
            Put(IMPORTED, {"_id": issuance_id, "ranges": [list(each) for each in merge(ranges)], "rev": 0})
            for issuance_id, ranges in self._ranges.items()
        ]
        for txid, raw in (await load_raws(store, self._txids)).items():
            writes += [Put(IMPORTED, row) for row in _made(raw, self._txids[txid])]
        return writes


def _made(raw: bytes, action_id: str) -> Iterable[dict[str, object]]:
    """The rows of what a transaction issued for an import. Other actions may share the transaction."""
    for output in Transaction.parse(raw).outputs:
        token = read_script(output.script)
        if isinstance(token, Token) and ATTRIBUTE in token.bundle.attributes:
            yield imported_here(token, action_id)
