"""Alarms: what a person has to look at. Each is raised once, in the log and in the books; nothing is put right by
itself.

    parity_breached       the chains do not add up              pauses both directions
    source_lost           a source went after it was final      pauses both directions; over once it is back,
                                                                or written off
    foreign_release       tokens left custody by no transaction of the bridge's
    movement_unexplained  a transaction's instructions do not explain what it did to the mint's tokens
    supply_differs        the mint's supply is not what its movements add up to
    custody_differs       nor is custody's balance
    history_gap           the event processor cannot read on: what comes next is unknown
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import structlog

from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.pauses import Pauses
from bridge.mirror.records import MIRROR
from store.port import Delete, Document, Find, Put, Reader

_PREFIX: Final = "alarm:"
MOST_TEXT_CHARACTERS: Final = 500
MOST_STANDING: Final = 200
"""Of each alarm; some are raised for what anybody can do, and must not hide the others."""

log = structlog.get_logger("metawatt.mirror")


class Alarm(StrEnum):
    """What is wrong. A closed list."""

    PARITY_BREACHED = "parity_breached"
    SOURCE_LOST = "source_lost"
    FOREIGN_RELEASE = "foreign_release"
    MOVEMENT_UNEXPLAINED = "movement_unexplained"
    SUPPLY_DIFFERS = "supply_differs"
    CUSTODY_DIFFERS = "custody_differs"
    HISTORY_GAP = "history_gap"


PAUSING: Final = frozenset({Alarm.PARITY_BREACHED, Alarm.SOURCE_LOST})


def alarm_key(alarm: Alarm, subject: str) -> str:
    """The key of a standing alarm in `records.MIRROR`."""
    return f"{_PREFIX}{alarm.value}:{subject}"


async def standing(reader: Reader) -> list[Document]:
    """The alarms that stand, of each the first `MOST_STANDING`: `alarm`, `subject`, `text`, `at_ms`."""
    found: list[Document] = []
    for each in sorted(Alarm):
        find = Find(lower=f"{_PREFIX}{each.value}:", upper=f"{_PREFIX}{each.value};", limit=MOST_STANDING)
        found += (await reader.find(MIRROR, find)).documents
    return found


async def is_breached(reader: Reader, asset: str) -> bool:
    """Whether parity of the asset was found breached, and not found exact since."""
    return await reader.get(MIRROR, alarm_key(Alarm.PARITY_BREACHED, asset)) is not None


class Alarms:
    """Raises alarms, and takes back those that may pass by themselves."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._pauses = Pauses(ground.store)

    async def raise_for(self, alarm: Alarm, subject: str, text: str) -> bool:
        """Raise it, if it does not stand already; whether it is new. `subject` is what it is about: an asset, a
        message, a transaction, an address."""
        key = alarm_key(alarm, subject)
        async with self._ground.book.page() as page:
            if await self._ground.store.get(MIRROR, key) is not None:
                return False
            self._raise(key, alarm, subject, text[:MOST_TEXT_CHARACTERS], page)
            if alarm in PAUSING:
                await self._pauses.pause_both(f"alarm: {alarm.value}", page)
        log.error("alarm", alarm=alarm.value, subject=subject, text=text)
        return True

    async def clear(self, alarm: Alarm, subject: str, text: str) -> bool:
        """What was wrong is so no longer; whether the alarm stood. Pauses stay: a person ends them."""
        key = alarm_key(alarm, subject)
        async with self._ground.book.page() as page:
            if await self._ground.store.get(MIRROR, key) is None:
                return False
            page.note({"alarm_over": alarm.value, "subject": subject, "text": text})
            page.write(Delete(MIRROR, key))
        log.warning("alarm is over", alarm=alarm.value, subject=subject, text=text)
        return True

    def _raise(self, key: str, alarm: Alarm, subject: str, text: str, page: Page) -> None:
        page.note({"alarm": alarm.value, "subject": subject, "text": text})
        row = {"_id": key, "alarm": alarm.value, "subject": subject, "text": text, "at_ms": page.now_ms}
        page.write(Put(MIRROR, row))
