"""Intervals and numbers: no device's interval is issued twice, and its certificates are numbered on.

A *series* is a device and an energy carrier. Within one, certificate numbers go on from 1 without a gap, in the
order of issuance, and are never used again, also when they were withdrawn. Production intervals do not
overlap; one that was withdrawn whole is free again.

An interval of which the bridge issues is the bridge's, for good: tokens stand for its energy, whatever becomes of
single certificates. It is claimed once, issued in as many parts as tokens come in, and by nobody else. How much of
it may be certificates is not decided here, but by the bridge's lots.
"""

from __future__ import annotations

from asyncio import gather
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from certificates.ranges import Range
from config.errors import BadRequest, ErrorCode
from energytag.records import INTERVALS, NUMBERS
from store.pages import pages
from store.port import Document, Find, Insert, Patch, Reader, Write

HOUR_MS: Final = 3_600_000
BRIDGE: Final = "bridge"
"""In the row of an interval that is the bridge's."""
_SERIES_BYTES: Final = 16
_OFFSET: Final = 2**62
_PAGE: Final = 5000
_NEAR_MS: Final = 6 * HOUR_MS


class IssuedTwice(BadRequest):
    """The device's interval was issued already."""

    default_code = ErrorCode.ISSUED_TWICE


class WrongNumber(BadRequest):
    """The range does not go on from the device's last number."""

    default_code = ErrorCode.RANGE_INVALID


def series_key(device_id: str, energy_carrier: str) -> bytes:
    """The key in `NUMBERS`, 16 bytes."""
    return sha256(f"{device_id}\n{energy_carrier.lower()}".encode()).digest()[:_SERIES_BYTES]


def interval_key(series: bytes, start_ms: int) -> bytes:
    """The key in `INTERVALS`: a device's intervals lie together, in order."""
    return series + (start_ms + _OFFSET).to_bytes(8, "big")


def interval_row(
    series: bytes, interval: tuple[int, int], issuance_id: str, numbers: Range, action_id: str
) -> Document:
    """What guards an issued interval (epoch milliseconds)."""
    return {
        "_id": interval_key(series, interval[0]),
        "end": interval[1],
        "issuance_id": issuance_id,
        "start": numbers.start,
        "stop": numbers.end,
        "action_id": action_id,
    }


def bridge_row(series: bytes, interval: tuple[int, int]) -> Document:
    """What says that an interval is the bridge's. It tells of no issuance: there may be many."""
    return {
        "_id": interval_key(series, interval[0]),
        "end": interval[1],
        "issuance_id": None,
        "start": None,
        "stop": None,
        "action_id": "",
        BRIDGE: True,
    }


def bridge_claim(series: bytes, interval: tuple[int, int]) -> list[Write]:
    """Make an interval the bridge's, which it may be already; a `Conflict` when it is another's."""
    row = bridge_row(series, interval)
    return [
        Insert(INTERVALS, row, keep=True),
        Patch(INTERVALS, row["_id"], {BRIDGE: True}, expect={BRIDGE: True, "end": interval[1]}),
    ]


def is_bridges(row: Document) -> bool:
    """Whether a guarded interval is the bridge's."""
    return bool(row.get(BRIDGE))


def start_of(row: Document) -> int:
    """The start of a guarded interval, epoch milliseconds."""
    return _start(row["_id"])


def span_of(key: bytes, end_ms: int) -> tuple[bytes, tuple[int, int]]:
    """The series and the interval of a key in `INTERVALS`, with the end that its row says."""
    return key[:_SERIES_BYTES], (_start(key), end_ms)


def _start(key: bytes) -> int:
    return int.from_bytes(key[_SERIES_BYTES:], "big") - _OFFSET


@dataclass(slots=True)
class Series:
    """One series as a batch of plans sees it: as it is stored, then as each plan leaves it.

    `next` is the next number, `last_end_ms` a moment after which nothing is issued. `taken` are the intervals
    that were issued before it and had to be read, and those that plans took, sorted; `bridged` are those of them
    that are the bridge's.
    """

    key: bytes
    is_stored: bool
    next: int
    last_end_ms: int
    taken: list[tuple[int, int]] = field(default_factory=list)
    bridged: set[tuple[int, int]] = field(default_factory=set)
    _read: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, key: bytes, row: Document | None) -> Series:
        return cls(key, False, 1, 0) if row is None else cls(key, True, row["next"], row["last_end_ms"])

    async def look_back(self, reader: Reader, window: tuple[int, int], own_action: str | None = None) -> None:
        """Read what was issued in a window that reaches back before `last_end_ms`; nothing is read for one
        that does not, nor twice. Rows of `own_action` are left out: it is being planned again."""
        if window[0] >= self.last_end_ms or any(
            read[0] <= window[0] and window[1] <= read[1] for read in self._read
        ):
            return
        found = set(self.taken)
        lower, upper = interval_key(self.key, window[0] - HOUR_MS), interval_key(self.key, window[1])
        async for rows in pages(reader, INTERVALS, Find(lower=lower, upper=upper), _PAGE):
            found.update((start_of(row), row["end"]) for row in rows if row["action_id"] != own_action)
            self.bridged.update((start_of(row), row["end"]) for row in rows if is_bridges(row))
        self.taken = sorted(found)
        self._read.append(window)

    def copy(self) -> Series:
        """A series to plan on, which can be thrown away."""
        return replace(self, taken=list(self.taken), bridged=set(self.bridged), _read=list(self._read))

    def take(self, interval: tuple[int, int], *, is_bridged: bool = False) -> None:
        """Claim an interval; `IssuedTwice` when it overlaps one that was issued or claimed. The bridge may have one
        again that is its own."""
        if is_bridged and interval in self.bridged:
            return
        place = bisect_left(self.taken, interval)
        before = self.taken[place - 1] if place else None
        after = self.taken[place] if place < len(self.taken) else None
        if (before is not None and before[1] > interval[0]) or (after is not None and after[0] < interval[1]):
            raise IssuedTwice
        self.taken.insert(place, interval)
        if is_bridged:
            self.bridged.add(interval)
        self.last_end_ms = max(self.last_end_ms, interval[1])

    def number(self, quantity: int, demanded: int | None = None) -> Range:
        """The next `quantity` numbers; `WrongNumber` when another beginning is demanded."""
        if demanded is not None and demanded != self.next:
            raise WrongNumber(f"bundle_id_range_start must be {self.next}, the device's next number")
        numbers = Range.of(self.next, self.next + quantity - 1)
        self.next = numbers.end + 1
        return numbers

    def write(self, before_next: int) -> Write:
        """The row as it is now, guarded by what it was."""
        changes = {"next": self.next, "last_end_ms": self.last_end_ms}
        if not self.is_stored:
            self.is_stored = True
            return Insert(NUMBERS, {"_id": self.key, **changes})
        return Patch(NUMBERS, self.key, changes, expect={"next": before_next})


def windows(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What to look back over for some intervals: those that lie near each other together. Between others there may
    be years, of which nothing has to be read."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if found and start - found[-1][1] <= _NEAR_MS:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


async def load_series(reader: Reader, keys: Sequence[bytes]) -> dict[bytes, Series]:
    """Series as they are stored, those that are new with number 1."""
    rows = await reader.get_many(NUMBERS, list(keys))
    return {key: Series.of(key, rows.get(key)) for key in keys}


async def issued_elsewhere(reader: Reader, claims: Sequence[tuple[bytes, tuple[int, int]]]) -> list[bool]:
    """Of each series and interval whether somebody but the bridge has issued for it, or for part of it."""
    keys = [interval_key(series, interval[0]) for series, interval in claims]
    rows, numbers = await reader.get_each([(INTERVALS, keys), (NUMBERS, list({series for series, _ in claims}))])
    return list(
        await gather(
            *(
                _is_elsewhere(reader, Series.of(series, numbers.get(series)), interval, rows.get(key))
                for key, (series, interval) in zip(keys, claims, strict=True)
            )
        )
    )


async def _is_elsewhere(reader: Reader, series: Series, interval: tuple[int, int], row: Document | None) -> bool:
    """`row` is the one that begins as the interval does."""
    if row is not None:
        return not is_bridges(row) or row["end"] != interval[1]
    await series.look_back(reader, interval)
    try:
        series.take(interval)
    except IssuedTwice:
        return True
    return False
