"""However many alarms of one kind stand, those of the others are told."""

from __future__ import annotations

from pathlib import Path

from bridge.mirror.alarms import MOST_STANDING, Alarm, alarm_key, standing
from bridge.mirror.records import MIRROR, MIRROR_COLLECTIONS
from store.port import Insert, Write
from store.sqlite import SqliteStore


async def test_many_alarms_of_one_kind_hide_no_other(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open(MIRROR_COLLECTIONS)
    try:
        await store.commit([_raised(Alarm.MOVEMENT_UNEXPLAINED, f"{number:06}") for number in range(3_000)])
        await store.commit([_raised(Alarm.PARITY_BREACHED, "asset"), _raised(Alarm.CUSTODY_DIFFERS, "asset")])
        told = [Alarm(row["alarm"]) for row in await standing(store)]
    finally:
        await store.close()
    assert told == [Alarm.CUSTODY_DIFFERS, *[Alarm.MOVEMENT_UNEXPLAINED] * MOST_STANDING, Alarm.PARITY_BREACHED]


def _raised(alarm: Alarm, subject: str) -> Write:
    row = {"alarm": alarm.value, "subject": subject, "text": "", "at_ms": 1}
    return Insert(MIRROR, {"_id": alarm_key(alarm, subject), **row})
