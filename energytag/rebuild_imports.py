"""Again from the action log and the overlay: what was imported, and is not to be imported once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from certificates.bundle import Bundle
from certificates.ranges import Range, merge
from certificates.token import Token, issuance_id_for
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
        self._unfinished: set[str] = set()

    def take(self, actions: Iterable[Action]) -> None:
        """An import counts from when it was decided; one that is undone only as far as it stands still."""
        for action in actions:
            decided = action.state is State.RESOLVED or action.memo is not None
            if action.kind is Kind.IMPORT and decided:
                if action.error is None or action.state is not State.RESOLVED:
                    for attributes in action.request["bundles"]:
                        bundle = Bundle(attributes)
                        self._ranges.setdefault(bundle.issuance_id, []).append(bundle.range)
                self._txids |= {bytes.fromhex(txid)[::-1]: action.action_id for txid in action.txids}
                if action.state is not State.RESOLVED:
                    self._unfinished.add(action.action_id)

    def take_parts(self, parts: Mapping[str, Iterable[bytes]]) -> None:
        """The transactions, by action, that did some of what is not all done."""
        for action_id, txids in parts.items():
            if action_id in self._unfinished:
                self._txids |= dict.fromkeys(txids, action_id)

    async def writes(self, store: Store) -> list[Write]:
        writes: list[Write] = []
        for txid, raw in (await load_raws(store, self._txids)).items():
            for token in _made(raw):
                source = token.bundle.attributes[ATTRIBUTE]["issuance_id"]
                self._ranges.setdefault(source, []).append(token.issued)
                writes.append(Put(IMPORTED, imported_here(token, self._txids[txid])))
        claimed = [
            Put(IMPORTED, {"_id": issuance_id, "ranges": [list(each) for each in merge(ranges)], "rev": 0})
            for issuance_id, ranges in self._ranges.items()
        ]
        return [*claimed, *writes]


def _made(raw: bytes) -> Iterable[Token]:
    """What a transaction issued for imports."""
    transaction = Transaction.parse(raw)
    first_input = transaction.inputs[0].outpoint
    for index, output in enumerate(transaction.outputs):
        token = read_script(output.script)
        if not isinstance(token, Token) or ATTRIBUTE not in token.bundle.attributes:
            continue
        if token.issuance_id == issuance_id_for(first_input, index):
            yield token
