"""Locked certificates as they are judged: the token, whose it was before, and what its issuer says of it now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.mirror.from_bsv.exits import exit_of
from bridge.mirror.origin import Origin, read_origin
from certificates.token import Token
from lookup.standing import Notices, applying, notices_for
from overlay.outputs import complete_outputs, load_outputs
from overlay.records import OUTPUTS, load_raws
from overlay.transaction import Transaction
from store.port import Document, Reader
from topics.certificates import read_script
from topics.names import CERTIFICATES


@dataclass(frozen=True, slots=True)
class ExitLock:
    """A certificate that is locked to the bridge. `withdrawn` is the reason that its issuer gave in a notice."""

    token: Token
    withdrawn: str | None

    @property
    def origin(self) -> Origin | None:
        return read_origin(self.token.origin)

    def facts(self, previous: bytes | None) -> dict[str, Any]:
        """What whoever refunds or completes it must know; `previous` as `load_previous` has it."""
        owner = self.token.exit.get("owner")
        return {
            "issuance_id": self.token.issuance_id,
            "range": list(self.token.bundle.range),
            **({} if owner is None else {"owner": owner}),
            **({} if previous is None else {"previous": previous.hex()}),
        }


async def load_locks(reader: Reader, outpoints: Sequence[bytes], identity: bytes) -> dict[bytes, ExitLock]:
    """Those of these outputs that are stored, and are certificates locked to the bridge's identity key."""
    outputs = await load_outputs(reader, outpoints)
    found = {key: exit_of(output.script, identity) for key, output in outputs.items()}
    tokens = {key: token for key, token in found.items() if token is not None}
    notices = await notices_for([_standing(token) for token in tokens.values()], reader)
    return {key: ExitLock(token, _withdrawn(token, notices)) for key, token in tokens.items()}


async def load_previous(reader: Reader, locks: Mapping[bytes, ExitLock]) -> dict[bytes, bytes]:
    """The keys, 33 B, that these certificates were locked to before, as far as that can be told."""
    coins = await _coins_spent(reader, {key[:32] for key in locks})
    found = {key: _previous(lock.token, coins.get(key[:32], ())) for key, lock in locks.items()}
    return {key: previous for key, previous in found.items() if previous is not None}


def _withdrawn(token: Token, notices: Notices) -> str | None:
    """The reason of a notice that withdraws some of a certificate's range."""
    told = applying(_standing(token), notices)
    return told[0].reason if told else None


def _standing(token: Token) -> Document:
    """As much of the index's record as notices are compared with."""
    return {
        "issuance_id": token.issuance_id,
        "issuer": token.issuer_key,
        "range_start": token.bundle.range.start,
        "range_end": token.bundle.range.end,
    }


async def _coins_spent(reader: Reader, txids: Iterable[bytes]) -> Mapping[bytes, Sequence[Token]]:
    """The certificates that these transactions spend."""
    raws = await load_raws(reader, txids)
    spent = {txid: [each.outpoint for each in Transaction.parse(raw).inputs] for txid, raw in raws.items()}
    rows = await reader.get_many(OUTPUTS, list({key for keys in spent.values() for key in keys}))
    held = [key for key, row in rows.items() if isinstance(key, bytes) and CERTIFICATES in row["topics"]]
    outputs = await complete_outputs(reader, held, rows)
    tokens = {key: read_script(output.script) for key, output in outputs.items()}
    return {
        txid: [token for key in keys if isinstance(token := tokens.get(key), Token)] for txid, keys in spent.items()
    }


def _previous(token: Token, coins: Sequence[Token]) -> bytes | None:
    """The key of the coin that had the certificate's first number: of several that were merged, the first."""
    first = token.bundle.range.start
    for coin in coins:
        had = coin.bundle.range
        if coin.issuance_id == token.issuance_id and had.start <= first <= had.end:
            return coin.locking_key
    return None
