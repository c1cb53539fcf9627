"""Gathering the writes of several commits into few statements; shared by the drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from store.port import Key

StatementT = TypeVar("StatementT")
Row: TypeAlias = tuple[Any, ...]


class Step(NamedTuple, Generic[StatementT]):
    """A write made ready. `target` is the collection's name and the key of the document written."""

    statement: StatementT
    target: tuple[str, Key]
    row: Row


def batches(commits: Sequence[Sequence[Step[StatementT]]]) -> Iterator[tuple[StatementT, list[Row]]]:
    """The writes of several commits, in an order that has the same effect, gathered by statement.

    Writes to different documents commute (only keys are unique). So a write needs to wait only for
    earlier writes to its own document: the n-th write to a document belongs to the n-th layer, and
    within a layer, in which no document occurs twice, writes may be gathered freely.
    """
    layers: list[dict[StatementT, list[Row]]] = []
    depths: dict[object, int] = {}
    for commit in commits:
        for statement, target, row in commit:
            depth = depths.get(target, 0)
            depths[target] = depth + 1
            if depth == len(layers):
                layers.append({})
            layers[depth].setdefault(statement, []).append(row)
    for layer in layers:
        yield from layer.items()
