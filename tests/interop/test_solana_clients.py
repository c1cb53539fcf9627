"""Clients of Solana, as they are published, against the embedded cluster in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized
from solana.rpc.core import RPCException
from solana.rpc.models import TxOpts
from solana.rpc.websocket_api import SolanaWsClient
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilterMentions
from solders.rpc.errors import SendTransactionPreflightFailureMessage
from solders.signature import Signature
from solders.token.state import TokenAccount
from solders.transaction_status import (
    InstructionErrorCustom,
    TransactionConfirmationStatus,
    TransactionErrorInstructionError,
)

from tests.bridge.tokens import UNIT, TokenLife

RunScript = Callable[..., Any]
SPL_TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
PROGRAMS = pytest.mark.parametrize("program", [SPL_TOKEN, TOKEN_2022], ids=["spl-token", "token-2022"])
STOP_SECS = 20


@dataclass(frozen=True)
class RunningCluster:
    """`metawatt solana`, with short slots; the WebSocket is one port above."""

    rpc_url: str
    ws_url: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The command as a user runs it, stopped by SIGTERM."""
    folder = tmp_path_factory.mktemp("solana")
    process = _start(folder)
    try:
        yield _told(process)
    finally:
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=STOP_SECS)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in errors, errors


def _start(folder: Path) -> subprocess.Popen[str]:
    options = ["solana", "--port", "0", "--slot-ms", "50", "--data-dir", str(folder)]
    command = [sys.executable, "-u", "-c", "from cli.main import main; main()", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    )


def _told(process: subprocess.Popen[str]) -> RunningCluster:
    """The addresses, from what the command prints when it listens."""
    assert process.stdout is not None
    told: dict[str, str] = {}
    for line in process.stdout:
        words = line.split()
        told[words[0]] = words[-1]
        if words[0] == "Kept":
            return RunningCluster(told["JSON-RPC"], told["WebSocket"])
    raise AssertionError(f"the cluster did not start: {process.communicate()[1]}")


@PROGRAMS
def test_kit_lives_a_tokens_life(running: RunningCluster, run_script: RunScript, program: str) -> None:
    told = run_script("solana_kit", url=running.rpc_url, wsUrl=running.ws_url, tokenProgram=program)
    _judge(told)
    assert told["largest"] == ["2500000000", "2000000000"]
    assert told["held"] == ["2500000000"]
    assert told["instructions"] == ["reading 1", "mintToChecked"]
    assert told["postTokens"] == ["5000000000"]
    assert told["version"] == 0
    assert told["rawBytes"] > 0
    assert told["blockHasIt"]
    assert told["hasEpoch"]
    assert told["memo"] == "[9] reading 1"
    assert told["refused"]["isPreflight"]
    assert told["refused"]["code"] == 1
    assert told["refused"]["hasLogs"]
    assert told["simulated"]["err"] is None
    assert told["simulated"]["lamports"] == 2_000_000_000
    assert told["slotsGrow"]
    assert told["rootsGrow"]
    assert told["logsOf"][:2] == [told["created"], told["minted"]]


@PROGRAMS
def test_web3_js_and_spl_token_live_a_tokens_life(
    running: RunningCluster, run_script: RunScript, program: str
) -> None:
    told = run_script("solana_web3", url=running.rpc_url, tokenProgram=program)
    _judge(told)
    assert told["tokens"] == ["5000000000", "3000000000"]
    assert told["parsedType"] == "transferChecked"
    assert told["parsedAmount"] == "2"
    assert told["held"] == ["2500000000"]
    assert told["owned"] == told["accounts"]
    assert told["versioned"] == {"version": 0, "fee": 5000, "err": None, "unread": -32015}
    assert told["refused"]["isSendError"]
    assert told["refused"]["hasLogs"]
    assert "custom program error: 0x1" in told["refused"]["message"]
    assert told["memo"] == "[9] reading 1"
    assert told["signatureErr"] is None
    assert told["logsOf"][-3:] == [told["minted"], told["transferred"], told["burnt"]]


def _judge(told: dict[str, Any]) -> None:
    """What every client must have seen: 5 minted, 2 of them transferred, half a token burnt."""
    assert told["supply"] in {"4.5", "4500000000"}
    assert told["balance"] == "2000000000"
    assert told["history"][:3] == [told["burnt"], told["transferred"], told["minted"]]
    assert told["before"] == [told["transferred"]]
    assert told["until"] == [told["burnt"]]
    assert told["accountSaw"][-3:] == ["5000000000", "3000000000", "2500000000"]
    assert told["programSaw"]
    assert told["status"] == "finalized"


@PROGRAMS
async def test_solana_py_lives_a_tokens_life(running: RunningCluster, program: str) -> None:
    async with AsyncClient(running.rpc_url, Confirmed) as client, SolanaWsClient(running.ws_url) as listener:
        assert await client.is_connected()
        life = TokenLife(client, Pubkey.from_string(program))
        await listener.logs_subscribe(
            filter_=RpcTransactionLogsFilterMentions(life.mint.pubkey()), commitment=Confirmed
        )
        await listener.account_subscribe(pubkey=life.source, commitment=Confirmed, encoding="base64")
        await listener.slot_subscribe()
        begun = await life.begin()
        minted = await life.mint_units(5 * UNIT)
        transferred = await life.transfer_units(2 * UNIT)
        burnt = await life.burn_units(UNIT // 2)
        await listener.signature_subscribe(signature=burnt, commitment=Finalized)
        heard = await _until_final(listener)
        assert heard["LogsNotification"] == [begun, minted, transferred, burnt]
        assert heard["AccountNotification"] == [0, 5 * UNIT, 3 * UNIT, 2_500_000_000]
        assert heard["SlotNotification"] == sorted(set(heard["SlotNotification"]))
        await _told_of(client, life, [burnt, transferred, minted, begun])
        await _refused(client, life)


async def _until_final(listener: SolanaWsClient) -> dict[str, list[Any]]:
    """What was heard by kind, until the transaction whose signature is subscribed to is final."""
    read: dict[str, Callable[[Any], Any]] = {
        "LogsNotification": lambda result: result.value.signature,
        "AccountNotification": lambda result: TokenAccount.from_bytes(result.value.data[:165]).amount,
        "SlotNotification": lambda result: result.slot,
        "SignatureNotification": lambda result: result.value.err,
    }
    heard: dict[str, list[Any]] = {kind: [] for kind in read}
    while not heard["SignatureNotification"]:
        notice = await listener.recv()
        kind = type(notice).__name__
        heard[kind].append(read[kind](notice.result))
    assert heard["SignatureNotification"] == [None]
    return heard


async def _told_of(client: AsyncClient, life: TokenLife, history: list[Signature]) -> None:
    """Supply, balances, history and transactions, as solana-py reads them."""
    burnt, transferred, minted, _ = history
    assert (await client.get_token_supply(life.mint.pubkey())).value.amount == "4500000000"
    assert (await client.get_token_account_balance(life.destination)).value.ui_amount_string == "2"
    found = (await client.get_signatures_for_address(life.source)).value
    assert [each.signature for each in found] == history
    assert found[2].memo == "[9] reading 1"
    page = (await client.get_signatures_for_address(life.source, before=burnt, until=minted)).value
    assert [each.signature for each in page] == [transferred]
    for encoding in ("json", "jsonParsed", "base64"):
        told = (await client.get_transaction(minted, encoding, max_supported_transaction_version=0)).value
        assert told is not None
        assert told.transaction.meta is not None
        assert told.transaction.meta.err is None
    status = (await client.get_signature_statuses([burnt])).value[0]
    assert status is not None
    assert status.confirmation_status == TransactionConfirmationStatus.Finalized


async def _refused(client: AsyncClient, life: TokenLife) -> None:
    """A burn of more than there is: refused before it is sent, with the program's own error."""
    transaction = await life.signed(life.burning(99 * UNIT))
    with pytest.raises(RPCException) as refused:
        await client.send_transaction(transaction, opts=TxOpts(preflight_commitment=Confirmed))
    message = refused.value.args[0]
    assert isinstance(message, SendTransactionPreflightFailureMessage)
    assert message.data.err == TransactionErrorInstructionError(0, InstructionErrorCustom(1))
    assert message.data.logs
