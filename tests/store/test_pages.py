"""Whole walks, against every driver."""

from __future__ import annotations

import pytest

from store.pages import every, pages
from store.port import Delete, Find, Insert, Store
from tests.store.conftest import THINGS, key
from tests.store.test_contract import thing


@pytest.mark.parametrize(
    ("find", "expected"),
    [
        (Find(), [[0, 1, 2], [3, 4, 5], [6]]),
        (Find(limit=1), [[0, 1, 2], [3, 4, 5], [6]]),
        (Find(descending=True), [[6, 5, 4], [3, 2, 1], [0]]),
        (Find(lower=key(2), upper=key(5)), [[2, 3, 4]]),
        (Find(after=(key(4),)), [[5, 6]]),
        (Find(lower=key(9)), [[]]),
    ],
)
async def test_a_walk_comes_whole_and_in_order(store: Store, find: Find, expected: list[list[int]]) -> None:
    await store.commit([Insert(THINGS, thing(number)) for number in range(7)])
    found = [[document["_id"] for document in page] async for page in pages(store, THINGS, find, size=3)]
    assert found == [[key(number) for number in page] for page in expected]
    assert await every(store, THINGS, find) == [
        document async for page in pages(store, THINGS, find) for document in page
    ]


async def test_what_is_walked_may_be_deleted_meanwhile(store: Store) -> None:
    await store.commit([Insert(THINGS, thing(number)) for number in range(7)])
    async for page in pages(store, THINGS, size=2):
        await store.commit([Delete(THINGS, document["_id"]) for document in page])
    assert await every(store, THINGS, Find()) == []
