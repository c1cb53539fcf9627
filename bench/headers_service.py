"""A Block Headers Service for a corpus: the three routes that a node asks, over headers kept in a file.

    python -m bench.headers_service CORPUS [--port 0]

The first line on standard output is `listening on PORT`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.corpus import Corpus
from overlay.headers import parse_header

MOST_HEADERS = 2000


class HeadersService:
    """Answers by path. Hashes are hex in display order."""

    def __init__(self, headers: bytes) -> None:
        self._headers = [
            parse_header(headers[start : start + 80], start // 80) for start in range(0, len(headers), 80)
        ]

    def get(self, path: str) -> Any:
        """The answer's JSON; None when there is no such route."""
        parts = urlsplit(path)
        if parts.path == "/api/v1/chain/tip/longest":
            return self._state(len(self._headers) - 1)
        if parts.path == "/api/v1/chain/header/byHeight":
            query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
            start, count = query["height"], min(query.get("count", 1), MOST_HEADERS)
            return [self._header(height) for height in range(start, min(start + count, len(self._headers)))]
        return None

    def post(self, path: str, body: Any) -> Any:
        if urlsplit(path).path != "/api/v1/chain/merkleroot/verify":
            return None
        results = list(self._confirm(body))
        sound = all(result["confirmation"] == "CONFIRMED" for result in results)
        return {"confirmationState": "CONFIRMED" if sound else "INVALID", "confirmations": results}

    def _confirm(self, body: Any) -> Iterator[dict[str, Any]]:
        for asked in body:
            height, root = asked["blockHeight"], asked["merkleRoot"]
            known = height < len(self._headers) and self._headers[height].merkle_root[::-1].hex() == root
            yield {
                "blockHeight": height,
                "merkleRoot": root,
                "confirmation": "CONFIRMED" if known else "INVALID",
            }

    def _state(self, height: int) -> dict[str, Any]:
        return {"header": self._header(height), "state": "LONGEST_CHAIN", "chainWork": "0", "height": height}

    def _header(self, height: int) -> dict[str, Any]:
        header = self._headers[height]
        number = {
            name: int.from_bytes(header.raw[start : start + 4], "little")
            for name, start in (
                ("version", 0),
                ("creationTimestamp", 68),
                ("difficultyTarget", 72),
                ("nonce", 76),
            )
        }
        return {
            "hash": header.hash[::-1].hex(),
            "prevBlockHash": header.previous[::-1].hex(),
            "merkleRoot": header.merkle_root[::-1].hex(),
            "work": "0",
            "height": height,
            **number,
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: HeadersService

    def do_GET(self) -> None:
        self._answer(self.service.get(self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(self.service.post(self.path, body))

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(404 if value is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a benchmark reads the output."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    Handler.service = HeadersService(Corpus(options.corpus).headers_file.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
