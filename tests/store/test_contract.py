"""What every driver of the storage port does. See `conftest.py` for the drivers and the collections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode
from store.port import (
    Absent,
    Collection,
    Conflict,
    Delete,
    Document,
    Find,
    Index,
    Insert,
    Patch,
    Put,
    Store,
    StoreUnavailable,
    Total,
)
from tests.store.conftest import APART, COLLECTIONS, HEADERS, MARKS, NAMES, OTHERS, THINGS, key

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def thing(number: int, **fields: Any) -> Document:
    """A document of THINGS with every declared field."""
    return {"_id": key(number), "owner": None, "region": None, "height": None, "amount": None, **fields}


async def walked(store: Store, find: Find, collection: Collection = THINGS) -> list[Document]:
    """All documents of a walk, page by page."""
    found: list[Document] = []
    page = await store.find(collection, find)
    found += page.documents
    while page.last is not None:
        assert len(page.documents) == find.limit
        page = await store.find(collection, replace(find, after=page.last))
        found += page.documents
    return found


def numbers(documents: list[Document]) -> list[int]:
    return [int.from_bytes(document["_id"], "big") for document in documents]


async def refused(store: Store, *writes: Any) -> int:
    """The index of the write that a commit is refused for."""
    with pytest.raises(Conflict) as caught:
        await store.commit(writes)
    return caught.value.write_index


# ---- documents


async def test_a_document_comes_back_as_it_was_put_in(store: Store) -> None:
    document = thing(
        1,
        owner=b"\x00\xff" * 16,
        region="de",
        height=INT64_MAX,
        amount=INT64_MIN,
        text="Grüße, 電気 ⚡ \U0001f50c\x00",
        flags=[True, False, None],
        ratio=0.1,
        nested={"blob": b"\x00", "list": [1, "2", b"3", {"deep": -(2**40)}], "a.b": {"$x": 1}},
        big=2**62,
    )
    await store.commit([Insert(THINGS, document)])
    found = await store.get(THINGS, key(1))
    assert found == document
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in document.items()
    }
    assert type(found["nested"]["list"][3]["deep"]) is int


async def test_a_declared_field_left_out_is_none(store: Store) -> None:
    await store.commit([Insert(THINGS, {"_id": key(1)}), Insert(MARKS, {"_id": b"m"})])
    assert await store.get(THINGS, key(1)) == thing(1)
    assert await store.get(MARKS, b"m") == {"_id": b"m", "at_ms": None}


async def test_blobs_of_a_megabyte(store: Store) -> None:
    blob = bytes(range(256)) * 4096
    await store.commit([Insert(THINGS, thing(n, beef=blob)) for n in range(3)])
    assert (await store.get(THINGS, key(2)))["beef"] == blob


@pytest.mark.parametrize(
    ("collection", "keys"),
    [
        (HEADERS, [INT64_MIN, -1, 0, 1, INT64_MAX]),
        (NAMES, ["", "a", "ä", "z\x00", "電"]),
        (MARKS, [bytes(36), b"\xff" * 36]),
    ],
)
async def test_keys_of_every_kind(store: Store, collection: Collection, keys: list[Any]) -> None:
    await store.commit([Insert(collection, {"_id": one, "extra": 1}) for one in keys])
    assert set(await store.get_many(collection, keys)) == set(keys)
    assert {d["_id"] for d in await walked(store, Find(limit=2), collection)} == set(keys)


async def test_what_a_caller_changes_after_the_call_is_not_stored(store: Store) -> None:
    document, changes = thing(1, tags=["a"]), {"more": {"x": 1}}
    inserting = asyncio.ensure_future(store.commit([Insert(THINGS, document)]))
    patching = asyncio.ensure_future(store.commit([Patch(THINGS, key(1), changes)]))
    await asyncio.sleep(0)
    document["tags"].append("b")
    changes["more"]["x"] = 2
    await asyncio.gather(inserting, patching)
    found = await store.get(THINGS, key(1))
    assert (found["tags"], found["more"]) == (["a"], {"x": 1})


async def test_readers_get_documents_of_their_own(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(1, tags=["a"]))])
    first, second = await asyncio.gather(store.get(THINGS, key(1)), store.get(THINGS, key(1)))
    first["tags"].append("b")
    assert second["tags"] == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        {"owner": b"no key"},
        {"_id": "text", "owner": b""},
        {"_id": None},
        thing(1, height="7"),
        thing(1, height=2**63),
        thing(1, region="\ud800"),
        thing(1, owner="text"),
        thing(1, extra=object()),
        thing(1, extra="\ud800"),
        thing(1, extra=2**64),
    ],
)
async def test_what_cannot_be_stored_is_refused_alone(store: Store, document: Document) -> None:
    others = [store.commit([Insert(THINGS, thing(n))]) for n in range(10, 13)]
    results = await asyncio.gather(store.commit([Insert(THINGS, document)]), *others, return_exceptions=True)
    assert isinstance(results[0], BadRequest)
    assert results[1:] == [None] * 3
    assert await store.count(THINGS) == 3


# ---- reads by key


async def test_get_many_gives_what_exists(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n)) for n in range(600)])
    wanted = [key(n) for n in (*range(590, 610), 595)]
    assert await store.get_many(THINGS, wanted) == {key(n): thing(n) for n in range(590, 600)}
    assert await store.get_many(THINGS, []) == {}
    assert await store.get(THINGS, key(1000)) is None
    assert len(await store.get_many(THINGS, [key(n) for n in range(2000)])) == 600


async def test_get_each_answers_in_the_order_asked(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(1)), Insert(HEADERS, {"_id": 7, "root": b"r"})])
    found = await store.get_each([(HEADERS, [7, 8]), (THINGS, [key(1)]), (NAMES, []), (HEADERS, [9])])
    assert found == [{7: {"_id": 7, "root": b"r"}}, {key(1): thing(1)}, {}, {}]
    assert await store.get_each([]) == []


async def test_concurrent_reads_do_not_mix(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n, amount=n)) for n in range(100)])
    found = await asyncio.gather(*(store.get(THINGS, key(n % 120)) for n in range(300)))
    assert [d and d["amount"] for d in found] == [n % 120 if n % 120 < 100 else None for n in range(300)]


async def test_a_key_of_another_kind_is_refused_and_spoils_no_other_read(store: Store) -> None:
    await store.commit([Insert(HEADERS, {"_id": 1, "root": b"r"})])
    results = await asyncio.gather(
        store.get(HEADERS, 2**70), store.get(HEADERS, 1), store.get(HEADERS, "1"), return_exceptions=True
    )
    assert [type(result) for result in results] == [BadRequest, dict, BadRequest]


# ---- writes and their conflicts


async def test_insert_of_a_key_that_exists(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(1, amount=1))])
    assert await refused(store, Insert(THINGS, thing(2)), Insert(THINGS, thing(1, amount=2))) == 1
    assert await store.get(THINGS, key(2)) is None
    await store.commit([Insert(THINGS, thing(1, amount=3), keep=True), Insert(THINGS, thing(3), keep=True)])
    assert (await store.get(THINGS, key(1)))["amount"] == 1
    assert await store.get(THINGS, key(3)) == thing(3)


async def test_a_commit_that_inserts_one_key_twice(store: Store) -> None:
    assert await refused(store, Insert(THINGS, thing(1)), Insert(THINGS, thing(1))) == 1
    await store.commit(
        [Insert(THINGS, thing(1, amount=1), keep=True), Insert(THINGS, thing(1, amount=2), keep=True)]
    )
    assert (await store.get(THINGS, key(1)))["amount"] == 1


async def test_put_adds_or_replaces(store: Store) -> None:
    await store.commit([Put(THINGS, thing(1, amount=1, extra="x"))])
    await store.commit([Put(THINGS, thing(1, region="de")), Put(THINGS, thing(2))])
    assert await store.get_many(THINGS, [key(1), key(2)]) == {key(1): thing(1, region="de"), key(2): thing(2)}


@pytest.mark.parametrize(
    "changes", [{"amount": 5}, {"amount": 5, "extra": [1]}, {"extra": None}, {"region": None}, {}]
)
@pytest.mark.parametrize("expect", [None, {"region": "de"}, {"height": None, "note": "n"}, {"absent": None}])
async def test_patch(store: Store, changes: dict[str, Any], expect: dict[str, Any] | None) -> None:
    before = thing(1, region="de", amount=1, note="n")
    await store.commit([Insert(THINGS, before)])
    await store.commit([Patch(THINGS, key(1), changes, expect)])
    assert await store.get(THINGS, key(1)) == {**before, **changes}
    assert (await store.find(THINGS, Find("by_region", {"region": before["region"]}))).documents == [
        {**before, **changes} for _ in [1] if "region" not in changes
    ]


@pytest.mark.parametrize("changes", [{"amount": 5}, {"extra": 5}, {}])
@pytest.mark.parametrize(
    "expect", [{"region": "fr"}, {"region": None}, {"height": 1}, {"note": "m"}, {"absent": 0}]
)
async def test_patch_and_delete_that_expect_another_value(store: Store, changes: Any, expect: Any) -> None:
    before = thing(1, region="de", note="n")
    await store.commit([Insert(THINGS, before)])
    assert await refused(store, Put(THINGS, thing(2)), Patch(THINGS, key(1), changes, expect)) == 1
    assert await refused(store, Delete(THINGS, key(1), expect)) == 0
    assert await walked(store, Find()) == [before]


@pytest.mark.parametrize("changes", [{"amount": 5}, {"extra": 5}, {}])
@pytest.mark.parametrize("expect", [None, {"amount": None}])
async def test_patch_of_a_document_that_is_not_there(store: Store, changes: Any, expect: Any) -> None:
    assert await refused(store, Absent(THINGS, key(9)), Patch(THINGS, key(1), changes, expect)) == 1
    await store.commit([Patch(THINGS, key(1), changes, expect, must_exist=False)])
    assert await store.count(THINGS) == 0


async def test_many_patches_of_which_some_find_nothing(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n)) for n in range(0, 40, 2)])
    await store.commit([Patch(THINGS, key(n), {"amount": n}, must_exist=False) for n in range(40)])
    assert [d["amount"] for d in await walked(store, Find())] == list(range(0, 40, 2))


async def test_delete(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n, region="de", height=n)) for n in range(4)])
    await store.commit([Delete(THINGS, key(1)), Delete(THINGS, key(2), {"region": "de"}), Delete(THINGS, key(9))])
    await store.commit([Delete(THINGS, key(9), {"region": "de"})])
    assert numbers(await walked(store, Find("by_region", {"region": "de"}))) == [0, 3]


async def test_absent(store: Store) -> None:
    await store.commit([Absent(THINGS, key(1)), Insert(THINGS, thing(1)), Absent(THINGS, key(2))])
    assert await refused(store, Insert(THINGS, thing(3)), Absent(THINGS, key(2)), Absent(THINGS, key(1))) == 2
    assert await store.count(THINGS) == 1


async def test_later_writes_of_a_commit_see_earlier_ones(store: Store) -> None:
    await store.commit(
        [
            Insert(THINGS, thing(1, amount=1)),
            Patch(THINGS, key(1), {"amount": 2}, {"amount": 1}),
            Patch(THINGS, key(1), {"extra": 3}, {"amount": 2}),
            Delete(THINGS, key(1), {"extra": 3}),
            Absent(THINGS, key(1)),
            Insert(THINGS, thing(1, amount=4)),
            Insert(THINGS, thing(1, amount=5), keep=True),
        ]
    )
    assert await store.get(THINGS, key(1)) == thing(1, amount=4)


async def test_an_empty_commit_and_a_key_that_a_patch_would_change(store: Store) -> None:
    await store.commit([])
    with pytest.raises(ValueError, match="key"):
        await store.commit([Patch(THINGS, key(1), {"_id": key(2)})])


# ---- groups


async def test_one_conflict_among_fifty_concurrent_commits(store: Store) -> None:
    await store.commit([Insert(MARKS, {"_id": b"taken"})])

    def writes(n: int) -> list[Any]:
        mark = b"taken" if n == 23 else b"%d" % n
        return [Insert(THINGS, thing(n)), Insert(THINGS, thing(100 + n)), Insert(MARKS, {"_id": mark})]

    results = await asyncio.gather(*(store.commit(writes(n)) for n in range(50)), return_exceptions=True)
    assert [n for n, result in enumerate(results) if result is not None] == [23]
    assert isinstance(results[23], Conflict)
    assert results[23].write_index == 2
    expected = [n for n in (*range(50), *range(100, 150)) if n % 100 != 23]
    assert numbers(await walked(store, Find())) == expected


async def test_fifty_racing_inserts_of_one_key(store: Store) -> None:
    racing = [store.commit([Put(MARKS, {"_id": b"%d" % n}), Insert(THINGS, thing(1, amount=n))]) for n in range(50)]
    results = await asyncio.gather(*racing, return_exceptions=True)
    (winner,) = [n for n, result in enumerate(results) if result is None]
    assert {type(result) for n, result in enumerate(results) if n != winner} == {Conflict}
    assert await store.get(THINGS, key(1)) == thing(1, amount=winner)
    assert [d["_id"] for d in await walked(store, Find(), MARKS)] == [b"%d" % winner]


async def test_concurrent_commits_apply_in_the_order_of_their_calls(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(1, amount=0))])
    await asyncio.gather(
        *(store.commit([Patch(THINGS, key(1), {"amount": n + 1}, {"amount": n})]) for n in range(60))
    )
    assert (await store.get(THINGS, key(1)))["amount"] == 60


async def test_many_conflicts_spoil_only_themselves(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n)) for n in range(0, 60, 3)])
    results = await asyncio.gather(
        *(store.commit([Insert(THINGS, thing(n))]) for n in range(60)), return_exceptions=True
    )
    assert [isinstance(result, Conflict) for result in results] == [n % 3 == 0 for n in range(60)]
    assert await store.count(THINGS) == 60


async def test_a_commit_that_nobody_waits_for_any_more_is_applied_whole(store: Store) -> None:
    writes = [Insert(THINGS, thing(n)) for n in range(20)]
    waiting = asyncio.ensure_future(store.commit(writes))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await store.commit([Insert(THINGS, thing(100))])
    assert numbers(await walked(store, Find())) == [*range(20), 100]


# ---- walks

HEIGHTS = [None, 5, 1, None, 5, 3, 5, None, 1, 9]
REGIONS = [None, "de", "fr"]
OWNERS = [b"\x01" * 4, b"\x02" * 4, None]


def many() -> list[Document]:
    """Documents with every mixture of None and values."""
    return [
        thing(n, owner=OWNERS[n % 3], region=REGIONS[n // 3 % 3], height=HEIGHTS[n % 10], amount=n)
        for n in range(60)
    ]


def _rank(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def model(find: Find, documents: list[Document]) -> list[Document]:
    """What a walk gives, said another way."""
    index = None if find.index is None else THINGS.index(find.index)
    fields = () if index is None else index.fields
    free = (*fields[len(find.equals) :], "_id")
    covered = [d for d in documents if all(d[name] == value for name, value in find.equals.items())]
    if index is not None and index.partial:
        covered = [d for d in covered if d[fields[0]] is not None]
    if find.lower is not None:
        covered = [d for d in covered if d[free[0]] is not None and d[free[0]] >= find.lower]
    if find.upper is not None:
        covered = [d for d in covered if d[free[0]] is not None and d[free[0]] < find.upper]
    return sorted(covered, key=lambda d: [_rank(d[name]) for name in free], reverse=find.descending)


WALKS = [
    Find(),
    Find(lower=key(10), upper=key(20)),
    Find("by_height"),
    Find("by_height", {"height": 5}),
    Find("by_height", {"height": None}),
    Find("by_height", {"height": 5}, lower=key(5), upper=key(40)),
    Find("by_height", lower=3),
    Find("by_height", upper=5),
    Find("by_height", lower=1, upper=6),
    Find("by_region"),
    Find("by_region", lower="df"),
    Find("by_region", {"region": "de"}),
    Find("by_region", {"region": None}),
    Find("by_region", {"region": "de"}, upper=5),
    Find("by_owner"),
    Find("by_owner", {"owner": OWNERS[0]}),
    Find("by_owner", {"owner": None, "region": "fr"}),
    Find("by_owner", {"owner": OWNERS[1], "region": None}, lower=2),
    Find("by_pending"),
    Find("by_pending", {"height": 5}),
    Find("by_pending", lower=2, upper=9),
    Find("by_pending", lower=9, upper=2),
]


@pytest.mark.parametrize("limit", [3, 100])
@pytest.mark.parametrize("collection", [THINGS, APART])
async def test_walks(store: Store, limit: int, collection: Collection) -> None:
    await store.commit([Insert(collection, document) for document in many()])
    await store.commit([Insert(OTHERS, {"_id": key(n)}) for n in range(0, 100, 7)])
    for walk in WALKS:
        for descending in (False, True):
            find = replace(walk, limit=limit, descending=descending)
            assert await walked(store, find, collection) == model(find, many()), find
    for walk in WALKS:
        assert await store.count(collection, walk) == len(model(walk, many())), walk


async def test_collections_of_one_family_keep_their_keys_apart(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n, amount=n)) for n in range(4)])
    await store.commit([Put(OTHERS, {"_id": key(n), "amount": -n}) for n in range(2, 6)])
    await store.commit([Absent(OTHERS, key(1)), Patch(OTHERS, key(2), {"amount": 7}), Delete(OTHERS, key(3))])
    assert await store.get_each([(THINGS, [key(2), key(3)]), (OTHERS, [key(2), key(3)])]) == [
        {key(2): thing(2, amount=2), key(3): thing(3, amount=3)},
        {key(2): {"_id": key(2), "amount": 7}},
    ]
    assert numbers(await walked(store, Find())) == [0, 1, 2, 3]
    assert numbers(await walked(store, Find(limit=2), OTHERS)) == [2, 4, 5]
    assert numbers(await walked(store, Find(lower=key(3), descending=True), OTHERS)) == [5, 4]
    assert [await store.count(each, Find(lower=key(3))) for each in (THINGS, OTHERS)] == [1, 2]
    assert [await store.count(each) for each in (THINGS, OTHERS)] == [4, 3]
    assert await store.aggregate(OTHERS, Find(upper=key(5)), [], "amount") == [Total((), 2, 3)]


async def test_a_position_between_documents_and_outside_the_bounds(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n, height=n)) for n in range(10)])

    async def heights(**fields: Any) -> list[int]:
        page = await store.find(THINGS, Find("by_height", **fields))
        return [document["height"] for document in page.documents]

    assert await heights(after=(3, key(99))) == [4, 5, 6, 7, 8, 9]
    assert await heights(lower=4, upper=7, after=(1, key(1))) == [4, 5, 6]
    assert await heights(lower=4, upper=7, after=(8, key(8))) == []
    assert await heights(lower=4, upper=7, after=(None, key(8))) == [4, 5, 6]
    assert await heights(lower=4, upper=7, after=(8, key(8)), descending=True) == [6, 5, 4]
    assert await heights(lower=4, upper=7, after=(1, key(1)), descending=True) == []
    assert await heights(lower=4, upper=7, after=(None, key(1)), descending=True) == []


@pytest.mark.parametrize(
    "after", [(), (1,), (1, 2), (b"x", key(1)), (1, None), (1, key(1), 1), (2**63, key(1)), ("\ud800", key(1))]
)
async def test_a_position_of_another_walk(store: Store, after: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        await store.find(THINGS, Find("by_height", after=after))
    assert caught.value.code is ErrorCode.BAD_CURSOR


@pytest.mark.parametrize(
    ("find", "error"),
    [
        (Find("by_nothing"), KeyError),
        (Find("by_region", {"height": 1}), ValueError),
        (Find(None, {"height": 1}), ValueError),
        (Find("by_pending", {"height": None}), ValueError),
        (Find("by_height", {"height": "1"}), BadRequest),
        (Find("by_height", lower=b""), BadRequest),
        (Find(limit=0), BadRequest),
    ],
)
async def test_walks_that_make_no_sense(store: Store, find: Find, error: type[Exception]) -> None:
    with pytest.raises(error):
        await store.find(THINGS, find)


async def test_aggregate(store: Store) -> None:
    await store.commit([Insert(THINGS, document) for document in many()])
    totals = await store.aggregate(THINGS, Find("by_region"), ["region", "height"], "amount")
    expected: dict[tuple[Any, ...], list[int]] = {}
    for document in many():
        expected.setdefault((document["region"], document["height"]), []).append(document["amount"])
    ordered = sorted(expected, key=lambda group: [_rank(value) for value in group])
    assert totals == [Total(group, len(expected[group]), sum(expected[group])) for group in ordered]
    assert await store.aggregate(THINGS, Find("by_height", {"height": 5}), [], "amount") == [
        Total((), 18, sum(d["amount"] for d in many() if d["height"] == 5))
    ]
    assert await store.aggregate(THINGS, Find("by_height", {"height": 77}), [], "amount") == []


async def test_sums_beyond_64_bits_and_of_none(store: Store) -> None:
    amounts = [INT64_MAX, INT64_MAX, None, INT64_MAX, -5]
    await store.commit([Insert(THINGS, thing(n, amount=amount)) for n, amount in enumerate(amounts)])
    (total,) = await store.aggregate(THINGS, Find(), ["region"], "amount")
    assert total == Total((None,), 5, 3 * INT64_MAX - 5)
    await store.commit([Insert(THINGS, thing(10 + n, region="de", amount=INT64_MIN)) for n in range(3)])
    (total,) = await store.aggregate(THINGS, Find("by_region", {"region": "de"}), ["region"], "amount")
    assert total == Total(("de",), 3, 3 * INT64_MIN)


# ---- several stores, opening and closing


async def test_two_stores_on_one_database(stores: Callable) -> None:
    first, second = await stores(), await stores()
    await first.commit([Insert(THINGS, thing(1, amount=0))])
    assert await second.get(THINGS, key(1)) == thing(1, amount=0)

    async def raised(store: Store) -> int:
        """Count up by compare-and-set; gives how often somebody else was faster."""
        lost = 0
        for _ in range(15):
            while True:
                amount = (await store.get(THINGS, key(1)))["amount"]
                try:
                    await store.commit([Patch(THINGS, key(1), {"amount": amount + 1}, {"amount": amount})])
                    break
                except Conflict:
                    lost += 1
        return lost

    await asyncio.gather(raised(first), raised(second), raised(first))
    assert (await second.get(THINGS, key(1)))["amount"] == 45


async def test_one_key_raced_for_from_two_stores(stores: Callable) -> None:
    both = [await stores(), await stores()]
    for number in range(5):
        racing = [both[n % 2].commit([Insert(THINGS, thing(number, amount=n))]) for n in range(10)]
        results = await asyncio.gather(*racing, return_exceptions=True)
        assert results.count(None) == 1
        assert {type(result) for result in results if result is not None} == {Conflict}


async def test_guards_of_two_stores_do_not_pass_each_other_by(stores: Callable) -> None:
    """Write skew: each puts what the other relies on to be absent. Not both may go through."""
    first, second = await stores(), await stores()
    for n in range(12):
        left, right = key(2 * n), key(2 * n + 1)
        results = await asyncio.gather(
            first.commit([Absent(THINGS, left), Insert(THINGS, {"_id": right})]),
            second.commit([Absent(THINGS, right), Insert(THINGS, {"_id": left})]),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
    assert await first.count(THINGS) == 12


async def test_expectations_of_two_stores_do_not_pass_each_other_by(stores: Callable) -> None:
    first, second = await stores(), await stores()
    for n in range(12):
        left, right = key(2 * n), key(2 * n + 1)
        await first.commit(
            [Insert(THINGS, {"_id": left, "amount": 1}), Insert(THINGS, {"_id": right, "amount": 1})]
        )
        results = await asyncio.gather(
            first.commit([Patch(THINGS, left, {}, {"amount": 1}), Patch(THINGS, right, {"amount": 0})]),
            second.commit([Patch(THINGS, right, {}, {"amount": 1}), Patch(THINGS, left, {"amount": 0})]),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]


async def test_commits_that_are_queued_at_close_are_finished(make_store: Callable) -> None:
    store = make_store()
    await store.open(COLLECTIONS)
    commits = [asyncio.ensure_future(store.commit([Insert(THINGS, thing(n))])) for n in range(100)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*commits) == [None] * 100
    with pytest.raises(StoreUnavailable):
        await store.commit([Insert(THINGS, thing(1000))])
    with pytest.raises(StoreUnavailable):
        await store.get(THINGS, key(1))
    await store.close()
    await store.open(COLLECTIONS)
    assert numbers(await walked(store, Find())) == list(range(100))
    await store.close()


async def test_a_later_release_declares_more(stores: Callable) -> None:
    old = await stores()
    await old.commit([Insert(THINGS, thing(n, grade="ab"[n % 2], weight=n)) for n in range(30)])
    graded = replace(
        THINGS,
        fields={**THINGS.fields, "grade": "text", "shade": "text"},
        indexes=(*THINGS.indexes, Index("by_grade", ("grade", "height"))),
    )
    added = Collection("added", "bytes", {"n": "int"})
    new = await stores((graded, added, MARKS, HEADERS, NAMES))
    page = await new.find(graded, Find("by_grade", {"grade": "b"}))
    assert numbers(page.documents) == list(range(1, 30, 2))
    assert page.documents[0] == {**thing(1), "grade": "b", "weight": 1, "shade": None}
    await new.commit([Insert(added, {"_id": b"x", "n": 1}), Patch(graded, key(1), {"grade": "c"}, {"grade": "b"})])
    older = await stores()
    assert (await older.get(THINGS, key(1)))["grade"] == "c"
    await older.commit([Insert(THINGS, thing(50, grade="c"))])
    assert numbers((await new.find(graded, Find("by_grade", {"grade": "c"}))).documents) == [1, 50]


async def test_an_index_declared_differently_is_made_anew(stores: Callable) -> None:
    first = await stores()
    await first.commit([Insert(THINGS, document) for document in many()])
    await first.close()
    indexes = (Index("by_height", ("height", "amount"), partial=True), *THINGS.indexes[1:])
    changed = replace(THINGS, indexes=indexes)
    second = await stores((changed, MARKS, HEADERS, NAMES))
    page = await second.find(changed, Find("by_height", {"height": 5}, descending=True))
    assert [d["amount"] for d in page.documents] == [n for n in reversed(range(60)) if HEIGHTS[n % 10] == 5]


async def test_stores_that_open_at_once(stores: Callable) -> None:
    opened = await asyncio.gather(*(stores() for _ in range(4)))
    await asyncio.gather(*(store.commit([Insert(THINGS, thing(n))]) for n, store in enumerate(opened)))
    assert [await store.count(THINGS) for store in opened] == [4] * 4


async def test_size_and_check(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(n, blob=bytes(1000))) for n in range(100)])
    assert await store.size_bytes() > 0
    assert await store.check() == []
