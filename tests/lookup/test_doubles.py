"""Marks of intervals: whatever was issued for one, in whatever order, each issuance is told of the others."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from lookup.doubles import doubles_of
from lookup.recorder import issuance_writes
from lookup.records import CERTIFICATES
from store.port import Document, Insert

ONCE, AGAIN, OURS, THEIRS = "issued once", "issued again", "mirrored by us", "mirrored by others"
KINDS: Final = (ONCE, AGAIN, OURS, THEIRS)
LONGEST: Final = 4


def record_of(sample: Document, number: int, place: int, kind: str) -> Document:
    """An issuance for the interval with that number."""
    ids = {ONCE: f"{number}-once", AGAIN: f"{number}-again"}
    made = dict(sample) | {
        "_id": number.to_bytes(32, "big") + place.to_bytes(4, "big"),
        "device_id": f"device {number}",
        "issuance_id": ids.get(kind, f"{number}-part-{place}"),
        "issuer": b"\x03" * 33 if kind == THEIRS else b"\x02" * 33,
        "seq": 100 * number + place,
    }
    return made if kind in ids else made | {"is_mirrored": True}


def expected(own: Document, everybody: list[Document]) -> list[str]:
    """Issuances of the interval but its own; parts of one mirror are as one."""

    def is_part(other: Document) -> bool:
        return bool(own.get("is_mirrored") and other.get("is_mirrored") and own["issuer"] == other["issuer"])

    return sorted({each["issuance_id"] for each in everybody if not is_part(each)} - {own["issuance_id"]})


async def test_every_order_of_issuances_marks_each_of_them(node: Any) -> None:
    """The first ones are committed one by one, the others in one group, which sees nothing of itself."""
    sample = await node.store.get(CERTIFICATES, await node.issue())
    number = 0
    for length in range(1, LONGEST + 1):
        for kinds, alone in product(product(KINDS, repeat=length), range(length + 1)):
            if any(kinds.count(each) > 1 for each in (ONCE, AGAIN)):
                continue  # an issuance is issued once
            number += 1
            records = [record_of(sample, number, place, kind) for place, kind in enumerate(kinds)]
            for each in records[:alone]:
                await node.store.commit([Insert(CERTIFICATES, each), *issuance_writes(each)])
            group: list[Any] = []
            for each in records[alone:]:
                group += [Insert(CERTIFICATES, each), *issuance_writes(each)]
            await node.store.commit(group)
            found = await doubles_of(records, node.store)
            wanted = {each["_id"]: expected(each, records) for each in records}
            assert found == {key: ids for key, ids in wanted.items() if ids}, (kinds, alone)


async def test_parts_of_a_mirrored_interval_are_told_apart_without_looking_at_one_another(
    node: Any, monkeypatch: Any
) -> None:
    """However many there are."""
    sample = await node.store.get(CERTIFICATES, await node.issue())
    records = [record_of(sample, 1, place, OURS) for place in range(50)]
    for each in records:
        await node.store.commit([Insert(CERTIFICATES, each), *issuance_writes(each)])
    monkeypatch.setattr(node.store, "find", None)
    assert await doubles_of(records, node.store) == {}
