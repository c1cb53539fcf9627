"""An engine in a process of its own, on a database that others use too.

    python contender.py STORAGE_URI HEADERS_FILE ISSUER_KEY

Says "open" when it is. Each line that comes in is a JSON list of submissions, `[[BEEF in hex, topics], …]`, made
all at once; each line that goes out has the answers in that order: a STEAK as JSON, or an error's code.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from config.errors import MetawattError
from config.settings import Settings
from lookup.hosted import hosted_lookup_services
from overlay.chain import Header
from overlay.engine import Engine
from overlay.headers import HeaderChain, parse_header
from overlay.records import ENGINE_COLLECTIONS
from overlay.steak import steak_to_wire
from overlay.verifier import Verifier
from overlay.verify import VerifyLimits
from store.open import open_store
from topics.hosted import hosted_topics


class FiledHeaders:
    """A headers service that knows what is in a file: headers from height 0, 80 bytes each."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        self._headers = [parse_header(raw[at : at + 80], at // 80) for at in range(0, len(raw), 80)]

    async def tip(self) -> Header:
        return self._headers[-1]

    async def range(self, start: int, count: int) -> list[Header]:
        return self._headers[start : start + count]

    async def close(self) -> None:
        """Nothing is held."""


async def answer(engine: Engine, beef: str, topics: list[str]) -> object:
    try:
        return steak_to_wire(await engine.submit(bytes.fromhex(beef), topics))
    except MetawattError as error:
        return error.code.value


async def main(uri: str, headers_file: Path, issuer: bytes) -> None:
    settings = Settings()
    services = hosted_lookup_services(settings)
    store = open_store(uri, Path(), settings.storage)
    await store.open([*ENGINE_COLLECTIONS, *(each for service in services for each in service.collections)])
    headers = HeaderChain(store, FiledHeaders(headers_file), first_height=0)
    await headers.open()
    await headers.sync()
    verifier = Verifier(headers, VerifyLimits())
    engine = Engine(store, headers, verifier, hosted_topics(settings, issuer), services)
    await engine.open()
    print("open", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        answers = await asyncio.gather(*(answer(engine, *submission) for submission in json.loads(line)))
        print(json.dumps(answers), flush=True)
    await verifier.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), bytes.fromhex(sys.argv[3])))
