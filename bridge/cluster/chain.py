"""The chain: slots with their blocks on the accounts, forward by a slot, back by a fork. No I/O.

What is to be stored is handed out when a slot closes, as the writes of one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.envelope import Envelope
from bridge.cluster.events import Event, ForkedAway, Landed, SlotOpened
from bridge.cluster.executed import Executed, Forked
from bridge.cluster.execution import Place, execute
from bridge.cluster.journal import Header, account_writes, block_writes, skip_writes, taken_out
from bridge.cluster.keys import LOOKUP_TABLES, Keys, keys_of
from bridge.cluster.nonce import may_use, nonce_address
from bridge.cluster.recent import Recent, StatusCache
from bridge.cluster.runtime import Runtime
from bridge.cluster.slots import BLOCKHASH_AGE, Slots
from bridge.cluster.tokens import TokenIndex
from bridge.cluster.undo import UNDO_SLOTS, UndoLog
from bridge.solana.rpc import Commitment
from config.errors import BadRequest
from overlay.clock import NowMs
from store.port import Write

FINAL_SLOTS: Final = 31
"""A block is final so many slots after its own."""

_RECENT_SLOTS: Final = 40
RESERVED_SLOTS: Final = 16
"""So many slots are reserved ahead at a time, and again when half of them are left: a slot is opened before the one
before it is durable."""
_SLOT_HASHES: Final = 512
_TIMES: Final = 512
_AGES: Final[dict[Commitment, int]] = {"processed": 0, "confirmed": 1, "finalized": FINAL_SLOTS}


class Chain:
    """State and rules of the one chain. `durable` is the newest slot that is stored, or had nothing to store."""

    def __init__(self, header: Header, slots: Slots, runtime: Runtime, now_ms: NowMs) -> None:
        self.header = header
        self.slots = slots
        self.runtime = runtime
        self.undo = UndoLog()
        self.recent = Recent(header.root + 1)
        self.statuses = StatusCache()
        self.tokens = TokenIndex()
        self.times: dict[int, int] = {}
        self.durable = header.root
        self.emit: Callable[[Event], None] = lambda event: None
        self._now_ms = now_ms
        self._late: dict[int, list[Envelope]] = {}
        self._carried: list[Write] = []

    # Reading

    def slot_at(self, commitment: Commitment, lag: int = 0) -> int:
        """The slot of the newest block at a commitment, as a node sees it that lags by `lag` slots."""
        newest = self.slots.tip - _AGES[commitment]
        if commitment != "processed":
            newest = min(newest, self.durable)
        return self.slots.at_or_before(max(0, newest - lag))

    def account_at(self, address: Pubkey, slot: int) -> Account | None:
        """An account as it was at the end of a slot; of one that is long past, as it is now."""
        if slot < self.slots.tip:
            was_changed, account = self.undo.lookup(address, slot)
            if was_changed:
                return account
        return self.runtime.account(address)

    def keys(self, envelope: Envelope, slot: int) -> Keys:
        """The accounts that a transaction names, with lookup tables as they were at a slot."""
        return keys_of(envelope.transaction, lambda address: self.account_at(address, slot))

    def may_land(self, envelope: Envelope, keys: Keys, slot: int) -> bool:
        """Whether its blockhash is young enough for the block of `slot`, or is a durable nonce."""
        if self.slots.is_valid(envelope.transaction.message.recent_blockhash, slot):
            return True
        address = nonce_address(envelope.transaction, keys.all)
        if address is None:
            return False
        account = self.account_at(address, slot)
        return may_use(envelope.transaction, account, self.slots.blockhash(slot))

    def prepare(self, keys: Keys) -> None:
        """Give the runtime what only few programs read."""
        if LOOKUP_TABLES in keys.all:
            recent = self.slots.back_from(self.slots.tip - 1, _SLOT_HASHES)
            self.runtime.set_slot_hashes([(slot, self.slots.blockhash(slot)) for slot in recent])

    def known(self, signature: Signature) -> tuple[int, Any] | None:
        """Slot and error of a transaction that may not land again."""
        return self.statuses.get(signature)

    def recently(self, signature: Signature) -> tuple[int, Any] | None:
        """The same of the last 150 blocks: what a node's recent cache tells."""
        found = self.statuses.get(signature)
        if found is None or found[0] < self.slots.back_from(self.slots.tip, BLOCKHASH_AGE + 1)[-1]:
            return None
        return found

    # Forward

    def restore(self, address: Pubkey, account: Account) -> None:
        """An account as the store has it."""
        self.runtime.put(address, account)
        self.tokens.add(address, account)

    def begin(self, slot: int, unix_secs: int) -> None:
        """`slot` is the tip, and this is its time."""
        self.slots.tip = slot
        self.times[slot] = unix_secs
        if len(self.times) > 2 * _TIMES:
            self.times = {each: secs for each, secs in self.times.items() if each > slot - _TIMES}
        self.runtime.set_time(slot, unix_secs)

    def open_next(self) -> None:
        """The next slot, with what was to land late."""
        parent = self.slots.open_next()
        self.begin(self.slots.tip, self._now_ms() // 1000)
        self.emit(SlotOpened(self.slots.tip, parent))
        for slot in sorted(each for each in self._late if each <= self.slots.tip):
            for envelope in self._late.pop(slot):
                self.land(envelope)

    def land(self, envelope: Envelope) -> Executed | None:
        """Execute in the tip's block. None when no leader would take it, or when it landed before."""
        executed = self.execute(envelope)
        if executed is not None:
            self.emit(Landed(executed))
        return executed

    def land_later(self, envelope: Envelope, slots: int) -> None:
        """Land it when so many slots have passed."""
        self._late.setdefault(self.slots.tip + slots, []).append(envelope)

    def execute(self, envelope: Envelope) -> Executed | None:
        """`land`, but nobody is told."""
        tip = self.slots.tip
        keys = self.keys(envelope, tip)
        if envelope.signature in self.statuses or not self.may_land(envelope, keys, tip):
            return None
        executed = self.replay(envelope, keys)
        if executed is not None:
            self.header = replace(self.header, transactions=self.header.transactions + 1)
        return executed

    def replay(self, envelope: Envelope, keys: Keys) -> Executed | None:
        """Execute in the tip's block what may land there."""
        tip = self.slots.tip
        self.prepare(keys)
        place = Place(tip, self.recent.count(tip), self.times[tip], self.slots.blockhash(tip))
        outcome = execute(self.runtime, envelope, keys, place)
        for change in outcome.changes:
            self.undo.record(tip, change.address, change.before)
            self.tokens.add(change.address, change.after)
        if outcome.executed is not None:
            self.recent.add(outcome.executed)
            self.statuses.add(envelope.signature, tip, outcome.error)
        return outcome.executed

    def close_tip(self, *, is_last: bool = False) -> list[Write]:
        """The writes that make the tip's block durable; none when nothing has to be stored.

        `is_last` is said when no other slot will be opened: then the next start goes on with the next slot.
        """
        tip, landed = self.slots.tip, self.recent.block(self.slots.tip)
        must_reserve = tip + RESERVED_SLOTS // 2 >= self.header.reserved
        if not (landed or self._carried or must_reserve or is_last):
            return []
        root = self.slots.at_or_before(max(0, tip + 1 - FINAL_SLOTS))
        changed = self.undo.changed(self.header.root + 1, root)
        accounts = {address: self.account_at(address, root) for address in changed}
        reserved = tip + RESERVED_SLOTS if must_reserve else self.header.reserved
        self.header = replace(self.header, root=max(root, self.header.root), reserved=tip if is_last else reserved)
        writes, self._carried = self._carried, []
        if landed:
            writes += block_writes(landed)
        return [*writes, *account_writes(accounts), self.header.write()]

    def carry(self, writes: Sequence[Write]) -> None:
        """These could not be stored; the next commit begins with them."""
        self._carried = [*writes, *self._carried]

    def forget_old(self) -> None:
        """Let go of what is durable and long final."""
        tip = self.slots.tip
        self.recent.forget(min(tip - _RECENT_SLOTS, self.durable))
        self.undo.forget(min(tip - UNDO_SLOTS, self.header.root))
        self.statuses.remove(0, self.oldest_to_keep - 1)

    @property
    def oldest_to_keep(self) -> int:
        """The oldest block whose blockhash may still be used, also after the deepest fork, which makes older ones
        valid again; its transactions and later ones could be sent again."""
        return self.slots.back_from(self.slots.tip, BLOCKHASH_AGE + FINAL_SLOTS + 1)[-1]

    # Back

    def fork(self, depth: int, drop: Collection[Signature] | bool) -> Forked:
        """See `Cluster.fork`."""
        base, slots = self._fork_range(depth)
        undone = self._undo(base)
        parent = self.slots.open_next()
        self.begin(self.slots.tip, self._now_ms() // 1000)
        landed = self._landed_again(undone, drop)
        replayed = {executed.signature for executed in landed}
        vanished = tuple(each.signature for each in undone if each.signature not in replayed)
        forked = Forked(base, slots, self.slots.tip, tuple(each.signature for each in landed), vanished)
        self.emit(ForkedAway(forked))
        self.emit(SlotOpened(self.slots.tip, parent))
        for executed in landed:
            self.emit(Landed(executed))
        return forked

    def _undo(self, base: int) -> list[Executed]:
        """Take everything after the block of `base` back; the transactions, in the order in which they landed."""
        first, last = base + 1, self.slots.tip
        undone = self.recent.take_back(base)
        for address, account in self.undo.take_back(base).items():
            self.runtime.put(address, account)
        self.statuses.remove(first, last)
        self.header = replace(self.header, transactions=self.header.transactions - len(undone))
        self._carried += taken_out(each for each in undone if each.slot < last)
        self._carried += skip_writes(first, last, self.slots.skip(first, last))
        return undone

    def _fork_range(self, depth: int) -> tuple[int, tuple[int, ...]]:
        """The block that stays, and the slots of those that go, in order."""
        if not 1 <= depth < FINAL_SLOTS:
            raise BadRequest(f"depth must be from 1 to {FINAL_SLOTS - 1}")
        newest = self.slots.back_from(self.slots.tip, depth + 1)
        base = newest[-1]
        if len(newest) <= depth or base < max(self.slot_at("finalized"), self.header.root):
            raise BadRequest("what is final cannot be undone")
        return base, tuple(reversed(newest[:-1]))

    def _landed_again(self, undone: Iterable[Executed], drop: Collection[Signature] | bool) -> list[Executed]:
        if isinstance(drop, bool):
            kept = [] if drop else list(undone)
        else:
            kept = [each for each in undone if each.signature not in drop]
        landed = (self.execute(Envelope.trusted(each.raw)) for each in kept)
        return [each for each in landed if each is not None]
