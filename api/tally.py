"""Counts over all processes of a node: a scrape reaches one of them, and must tell of all.

Each process writes its counts, as Prometheus text, to a file of its own in `<data_dir>/run`, once a second;
whoever is scraped adds the others' to its own. A process that ended leaves its counts behind, so that no
counter goes back; the first process empties the folder when it starts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_EVERY_SECS: Final = 1.0
_SUFFIX: Final = ".prom"


class Tally:
    def __init__(self, folder: Path, own: Callable[[], str]) -> None:
        self._folder = folder
        self._own = own
        self._file = folder / f"{os.getpid()}{_SUFFIX}"

    def clear(self) -> None:
        """Forget the counts of an earlier run."""
        for file in self._folder.glob(f"*{_SUFFIX}"):
            file.unlink(missing_ok=True)

    async def keep(self) -> None:
        """Write this process's counts until cancelled, and once more then."""
        try:
            while True:
                await asyncio.to_thread(self._write, self._own())
                await asyncio.sleep(_EVERY_SECS)
        finally:
            self._write(self._own())

    def _write(self, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self._file)

    async def total(self) -> str:
        """The counts of all processes, added up."""
        return add_up([self._own(), *await asyncio.to_thread(self._others)])

    def _others(self) -> list[str]:
        files = (file for file in self._folder.glob(f"*{_SUFFIX}") if file != self._file)
        return [file.read_text(encoding="utf-8") for file in files]


def add_up(texts: Iterable[str]) -> str:
    """Expositions with samples of one name and labels added."""
    samples: dict[str, dict[str, float]] = {}
    heads: dict[str, str] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            heads[name] = f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n"
            totals = samples.setdefault(name, {})
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
                line = f"{sample.name}{{{labels}}}" if labels else sample.name
                totals[line] = totals.get(line, 0.0) + sample.value
    return "".join(
        heads[name] + "".join(f"{line} {value:.17g}\n" for line, value in totals.items())
        for name, totals in samples.items()
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
