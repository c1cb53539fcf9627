"""The load of the bridge's benchmarks: a process of its own, on the loopback only.

    python -m bench.bridge_load deposits FOLDER --count N [--rate R] [--transfers K]
    python -m bench.bridge_load locks FOLDER URL --count N [--rate R] [--bundles K]

`deposits` sends transactions of K transfers of 100 Wh into custody, each transfer a message of its own, with one
memo that names an account. `locks` locks certificates through the registry, K times 100 Wh an action, of one
account after the other. `--rate` is in messages a second, whether or not answers come; without it all are sent as
fast as a few connections will. FOLDER has the world's `plan.json` (bench/bridge_world.py). The answer is one
JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import aiohttp
import uvloop
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID

from bench.bridge_world import household
from bridge.programs.tokens import associated_account, transfer_checked

A_MESSAGE_WH: Final = 100
UNITS_A_WH: Final = 10**6
CONNECTIONS: Final = 24
WALLETS: Final = 64
"""To whom locked certificates' tokens go."""
_BLOCKHASH_SECS: Final = 5.0
_LOOK_SECS: Final = 1.0


@dataclass(slots=True)
class Load:
    """Does one thing again and again. `work` is told its number, and answers how many messages it made."""

    work: Callable[[int], Awaitable[int]]
    each: int
    messages: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    async def run(self, count: int, rate: float | None) -> dict[str, Any]:
        """Until `count` messages are asked for."""
        began, times = perf_counter(), -(-count // self.each)
        if rate is None:
            numbers = iter(range(times))
            await asyncio.gather(*(self._one_by_one(numbers) for _ in range(CONNECTIONS)))
        else:
            await self._paced(times, rate / self.each)
        secs = perf_counter() - began
        return {
            "seconds": round(secs, 2),
            "messages": self.messages,
            "rate": round(self.messages / secs, 1),
            "cpu_secs": round(process_time(), 2),
            "refusals": dict(self.refusals),
        }

    async def _one_by_one(self, numbers: Any) -> None:
        for number in numbers:
            await self._do(number)

    async def _paced(self, times: int, a_second: float) -> None:
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(times):
                await asyncio.sleep(max(0.0, began + number / a_second - perf_counter()))
                group.create_task(self._do(number))

    async def _do(self, number: int) -> None:
        try:
            made = await self.work(number)
        except (aiohttp.ClientError, TimeoutError, Refused) as error:
            self.refusals[f"{type(error).__name__} {str(error)[:160]}"] += 1
        else:
            self.messages += made


class Refused(Exception):
    """The server said no."""


# Deposits


@dataclass(slots=True)
class Deposits:
    """Wallets that send tokens into custody."""

    session: aiohttp.ClientSession
    plan: dict[str, Any]
    transfers: int
    payer: Keypair
    first: int
    _blockhash: Hash = field(default_factory=Hash.default)
    _fresh_until: float = 0.0

    async def send(self, number: int) -> int:
        """One transaction."""
        made = self._made(self.first + number, await self._recent())
        config = {"encoding": "base64", "skipPreflight": True}
        await self._call("sendTransaction", b64encode(bytes(made)).decode(), config)
        return self.transfers

    def _made(self, number: int, blockhash: Hash) -> Transaction:
        holder = household(number % self.plan["households"])
        accounts = self.plan["accounts"]
        account_id = accounts[number % len(accounts)]
        memos = [f"gwx1:{account_id}", f"{number:x}"]
        instructions = [self._transfer(holder.pubkey()) for _ in range(self.transfers)]
        instructions += [Instruction(MEMO_PROGRAM_ID, each.encode(), []) for each in memos]
        message = Message.new_with_blockhash(instructions, self.payer.pubkey(), blockhash)
        return Transaction([self.payer, holder], message, blockhash)

    def _transfer(self, holder: Pubkey) -> Instruction:
        mint = Pubkey.from_string(self.plan["mint"])
        source = associated_account(holder, mint, TOKEN_PROGRAM_ID)
        custody = Pubkey.from_string(self.plan["custody"])
        units = A_MESSAGE_WH * UNITS_A_WH
        return transfer_checked(TOKEN_PROGRAM_ID, source, mint, custody, holder, units, 9, ())

    async def _recent(self) -> Hash:
        if perf_counter() > self._fresh_until:
            self._fresh_until = perf_counter() + _BLOCKHASH_SECS
            told = await self._call("getLatestBlockhash", {"commitment": "confirmed"})
            self._blockhash = Hash.from_string(told["value"]["blockhash"])
        while self._blockhash == Hash.default():
            await asyncio.sleep(0.01)
        return self._blockhash

    async def _call(self, method: str, *params: Any) -> Any:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self.session.post(self.plan["solana"], json=asked) as response:
            told = await response.json()
        if "error" in told:
            raise Refused(told["error"]["message"])
        return told["result"]


# Locks


@dataclass(slots=True)
class Locks:
    """Holders who lock what they have to the bridge."""

    session: aiohttp.ClientSession
    plan: dict[str, Any]
    url: str
    token: str
    bundles: int
    first: int

    async def lock(self, number: int) -> int:
        """One action; how many certificates it locked."""
        accounts = self.plan["accounts"]
        wallet = Keypair.from_seed((1 + (self.first + number) % WALLETS).to_bytes(32, "big")).pubkey()
        body = {
            "source_account_id": accounts[(self.first + number) % len(accounts)],
            "source_user_id": self.plan["user_id"],
            "certificate_quantity": self.bundles * A_MESSAGE_WH,
            "exit": {"chain": "solana", "address": str(wallet)},
        }
        action = await self._ask("POST", "/certificates/lock", body)
        while action["action_state"] not in ("resolved", "rejected"):
            await asyncio.sleep(_LOOK_SECS)
            action = await self._ask("GET", f"/actions/{action['action_id']}")
        if action["action_state"] == "rejected":
            raise Refused(json.dumps(action)[:300])
        return self.bundles

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.session.request(method, self.url + path, json=body, headers=headers) as reply:
            told = await reply.json()
        if reply.status >= 300:
            raise Refused(f"{reply.status} {str(told)[:300]}")
        return told


async def run(options: argparse.Namespace) -> dict[str, Any]:
    plan = json.loads((options.folder / "plan.json").read_text())
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        if options.what == "deposits":
            payer = Keypair.from_json((options.folder / "minter.json").read_text())
            deposits = Deposits(session, plan, options.transfers, payer, options.first)
            load = Load(deposits.send, options.transfers)
        else:
            token = (options.folder / "admin.token").read_text().strip()
            locks = Locks(session, plan, options.url, token, options.bundles, options.first)
            load = Load(locks.lock, options.bundles)
        return await load.run(options.count, options.rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    deposits = what.add_parser("deposits", help="tokens into custody")
    deposits.add_argument("folder", type=Path)
    deposits.add_argument("--transfers", type=int, default=1, help="in one transaction on Solana")
    locks = what.add_parser("locks", help="certificates to the bridge")
    locks.add_argument("folder", type=Path)
    locks.add_argument("url")
    locks.add_argument("--bundles", type=int, default=20, help="certificates that one action locks")
    for command in (deposits, locks):
        command.add_argument("--count", type=int, required=True, help="messages")
        command.add_argument("--rate", type=float, help="messages a second")
        command.add_argument("--first", type=int, default=0, help="number of the first, so that none is sent twice")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
