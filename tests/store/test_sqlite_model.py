"""The SQLite driver against a dict, under whatever hypothesis thinks of."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from store.port import Absent, Conflict, Delete, Document, Find, Insert, Patch, Put, Write
from store.sqlite import SqliteStore
from tests.store.conftest import COLLECTIONS, THINGS, key

KEYS = st.integers(0, 7).map(key)
HEIGHTS = st.sampled_from([None, 1, 2, 3])
FIELDS = st.fixed_dictionaries({}, optional={"height": HEIGHTS, "region": st.sampled_from([None, "de", "fr"])})
EXTRAS = st.fixed_dictionaries({}, optional={"note": st.sampled_from([None, "x", [1]])})
CHANGES = st.tuples(FIELDS, EXTRAS).map(lambda both: {**both[0], **both[1]})
EXPECT = st.none() | CHANGES

WRITES: st.SearchStrategy[Write] = st.one_of(
    st.builds(lambda k, c, keep: Insert(THINGS, {"_id": k, **c}, keep), KEYS, CHANGES, st.booleans()),
    st.builds(lambda k, c: Put(THINGS, {"_id": k, **c}), KEYS, CHANGES),
    st.builds(lambda k, c, e, m: Patch(THINGS, k, c, e, m), KEYS, CHANGES, EXPECT, st.booleans()),
    st.builds(lambda k, e: Delete(THINGS, k, e), KEYS, EXPECT),
    st.builds(lambda k: Absent(THINGS, k), KEYS),
)
DECLARED = dict.fromkeys(THINGS.fields)


class Model:
    """The port on a dict."""

    def __init__(self) -> None:
        self.documents: dict[bytes, Document] = {}

    def commit(self, writes: list[Write]) -> int | None:
        """The index of the write at fault, None when all went through."""
        before = dict(self.documents)
        for index, write in enumerate(writes):
            if not self._apply(write):
                self.documents = before
                return index
        return None

    def _apply(self, write: Write) -> bool:
        if isinstance(write, Insert | Put):
            return self._add(write)
        document = self.documents.get(write.key)
        if isinstance(write, Absent):
            return document is None
        if document is None:
            return isinstance(write, Delete) or not write.must_exist
        if any(document.get(name) != value for name, value in (write.expect or {}).items()):
            return False
        del self.documents[write.key]
        if isinstance(write, Patch):
            self.documents[write.key] = {**document, **write.changes}
        return True

    def _add(self, write: Insert | Put) -> bool:
        identity = write.document["_id"]
        if isinstance(write, Insert) and identity in self.documents:
            return write.keep
        self.documents[identity] = {**DECLARED, **write.document}
        return True


class SqliteMachine(RuleBasedStateMachine):
    """Concurrent commits, closing and reopening; walks are compared after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.store = SqliteStore(Path(self.folder.name) / "node.db", cache_mib=1)
        self.model = Model()
        self.runner.run(self.store.open(COLLECTIONS))

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    @rule(commits=st.lists(st.lists(WRITES, max_size=5), min_size=1, max_size=8))
    def commit(self, commits: list[list[Write]]) -> None:
        expected = [self.model.commit(writes) for writes in commits]
        assert self.runner.run(self._together(commits)) == expected

    async def _together(self, commits: list[list[Write]]) -> list[int | None]:
        results = await asyncio.gather(*map(self.store.commit, commits), return_exceptions=True)
        return [result.write_index if isinstance(result, Conflict) else result for result in results]

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.runner.run(self.store.open(COLLECTIONS))

    @invariant()
    def same_documents(self) -> None:
        assert self.runner.run(self._all()) == dict(sorted(self.model.documents.items()))

    @rule(limit=st.integers(1, 4), descending=st.booleans())
    def walk(self, limit: int, descending: bool) -> None:
        find = Find("by_height", limit=limit, descending=descending)
        found = self.runner.run(self._walked(find))
        assert found == sorted(self.model.documents.values(), key=_by_height, reverse=descending)

    async def _walked(self, find: Find) -> list[Document]:
        found: list[Document] = []
        after: tuple[Any, ...] | None = ()
        while after is not None:
            page = await self.store.find(THINGS, Find(**{**_fields(find), "after": after or None}))
            found, after = found + page.documents, page.last
        return found

    async def _all(self) -> dict[bytes, Document]:
        page = await self.store.find(THINGS, Find(limit=100))
        return {document["_id"]: document for document in page.documents}


def _fields(find: Find) -> dict[str, Any]:
    return {"index": find.index, "limit": find.limit, "descending": find.descending}


def _by_height(document: Document) -> tuple[int, bytes]:
    return document["height"] or 0, document["_id"]


TestSqliteModel = pytest.mark.filterwarnings("default")(SqliteMachine.TestCase)
TestSqliteModel.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
