"""I5, verified on the engine's rows: of each issuance, what was admitted and not replaced by successors
divides the issued range exactly, with no overlap and no gap, unless ranges were lost in the open.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from certificates.ranges import Range, merge, partitions
from certificates.token import Token
from overlay.outputs import complete_outputs
from overlay.records import OUTPUTS, SPENDS
from store.pages import pages
from store.port import Document, Reader
from topics.certificates import read_script


@dataclass(slots=True)
class _Issuance:
    """The issued range, and the ends of the tree of parts: live ones and lost ones."""

    issued: Range
    ends: list[Range] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{', '.join(map(str, merge(self.ends))) or 'nothing'} ({len(self.ends)} parts)"


async def check_partitions(reader: Reader) -> list[str]:
    """Faults, each as a sentence that begins with `I5`; empty when every issuance is whole."""
    faults = await _look(reader)
    if not faults:
        return []
    again = set(await _look(reader))
    return [fault for fault in faults if fault in again]


async def _look(reader: Reader) -> list[str]:
    issuances: dict[tuple[str, str], _Issuance] = {}
    async for documents in pages(reader, OUTPUTS):
        await _collect(reader, documents, issuances)
    return [
        f"I5: the parts of issuance {issuance_id} in {topic} are {found}, issued were {found.issued}"
        for (topic, issuance_id), found in issuances.items()
        if not partitions(found.ends, [found.issued])
    ]


async def _collect(reader: Reader, documents: list[Document], issuances: dict[tuple[str, str], _Issuance]) -> None:
    keys = [document["_id"] for document in documents]
    spends = await reader.get_many(SPENDS, keys)
    outputs = await complete_outputs(reader, keys, {document["_id"]: document for document in documents})
    kept: dict[str, set[bytes]] = defaultdict(set)
    for key, spend in spends.items():
        for topic in spend["kept"]:
            kept[topic].add(bytes(key) if isinstance(key, bytes) else b"")
    for document in documents:
        output = outputs.get(document["_id"])
        if output is None:
            continue
        content = read_script(output.script)
        if not isinstance(content, Token):
            continue
        for topic in document["topics"]:
            found = issuances.setdefault((topic, content.issuance_id), _Issuance(content.issued))
            if document["_id"] not in kept[topic]:
                found.ends.append(content.bundle.range)
