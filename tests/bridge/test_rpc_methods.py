"""Every method of the embedded cluster's JSON-RPC, on a cluster where a token has lived."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import base58
import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solders.keypair import Keypair
from solders.message import Message, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.cluster.refusals import AnswerLost
from tests.bridge.rpc_kit import Asker
from tests.bridge.tokens import SPL_TOKEN, TOKEN_2022, UNIT, TokenLife

CONFIRMED = {"commitment": "confirmed"}
READS_V0 = {**CONFIRMED, "maxSupportedTransactionVersion": 0}
NOBODY = str(Pubkey.default())
MISSING = str(Signature.default())


@dataclass
class World:
    """A cluster, a token of the SPL Token program, and the transactions of its life, newest first."""

    cluster: Cluster
    asker: Asker
    life: TokenLife
    history: list[Signature]

    @property
    def mint(self) -> str:
        return str(self.life.mint.pubkey())

    @property
    def owner(self) -> str:
        return str(self.life.authority.pubkey())

    @property
    def source(self) -> str:
        return str(self.life.source)

    @property
    def destination(self) -> str:
        return str(self.life.destination)


@pytest.fixture(params=[SPL_TOKEN])
async def world(cluster: Cluster, solana: SolanaServer, request: pytest.FixtureRequest) -> Any:
    async with AsyncClient(solana.rpc_url, Confirmed) as client:
        life = TokenLife(client, request.param)
        begun = await life.begin()
        minted = await life.mint_units(5 * UNIT)
        transferred = await life.transfer_units(2 * UNIT)
        burnt = await life.burn_units(UNIT // 2)
        yield World(cluster, Asker(solana.service), life, [burnt, transferred, minted, begun])


async def test_what_the_cluster_says_of_itself(world: World) -> None:
    ask, genesis = world.asker.ask, str(world.cluster.genesis_hash)
    assert await ask("getHealth") == "ok"
    assert (await ask("getVersion"))["solana-core"] == "2.3.0"
    assert await ask("getGenesisHash") == genesis
    assert await ask("getIdentity") == {"identity": genesis}
    assert (await ask("getClusterNodes"))[0]["pubkey"] == genesis
    assert await ask("getSlotLeader") == genesis
    assert await ask("getSlotLeaders", 0, 3) == [genesis] * 3
    assert (await ask("getEpochSchedule"))["slotsPerEpoch"] == 432_000
    assert await ask("getFirstAvailableBlock") == await ask("minimumLedgerSlot") == world.cluster.first_available
    assert (await ask("getRecentPrioritizationFees", [world.mint]))[0]["prioritizationFee"] == 0


async def test_slots_follow_the_commitment(world: World) -> None:
    ask = world.asker.ask
    slots = [await ask("getSlot", {"commitment": each}) for each in ("finalized", "confirmed", "processed")]
    assert slots == sorted(slots)
    assert slots[0] < slots[2]
    assert await ask("getBlockHeight", CONFIRMED) <= await ask("getSlot", CONFIRMED)
    epoch = await ask("getEpochInfo", CONFIRMED)
    assert epoch["epoch"] == 0
    assert epoch["absoluteSlot"] == epoch["slotIndex"] >= slots[1]
    assert await ask("getTransactionCount") >= 5
    assert (await ask("getBlocks", 0, slots[1], CONFIRMED))[-1] <= slots[1]
    for config in ([CONFIRMED], [None, CONFIRMED]):
        assert (await ask("getBlocks", slots[1], *config))[0] == slots[1]
    assert len(await ask("getBlocksWithLimit", 0, 2, CONFIRMED)) == 2


async def test_a_client_may_ask_for_a_later_slot_than_there_is(world: World) -> None:
    error = await world.asker.refused("getBalance", world.owner, {"minContextSlot": 10**9})
    assert error["code"] == -32016
    assert error["data"]["contextSlot"] < 10**9


async def test_blocks(world: World) -> None:
    ask, minted = world.asker.ask, world.history[2]
    told = await ask("getTransaction", str(minted), READS_V0)
    slot = told["slot"]
    assert await ask("getBlockTime", slot) == told["blockTime"]
    block = await ask("getBlock", slot, READS_V0)
    assert str(minted) in [each["transaction"]["signatures"][0] for each in block["transactions"]]
    assert block["parentSlot"] < slot
    assert block["rewards"] == []
    few = await ask("getBlock", slot, {**READS_V0, "transactionDetails": "signatures", "rewards": False})
    assert str(minted) in few["signatures"]
    assert "transactions" not in few
    assert "rewards" not in few
    accounts = await ask("getBlock", slot, {**READS_V0, "transactionDetails": "accounts"})
    assert accounts["transactions"][0]["transaction"]["accountKeys"][0]["signer"]
    none = await ask("getBlock", slot, {**READS_V0, "transactionDetails": "none"})
    assert "signatures" not in none
    assert (await world.asker.refused("getBlock", slot, CONFIRMED))["code"] == -32015
    assert (await world.asker.refused("getBlock", slot + 10**6, CONFIRMED))["code"] == -32004
    assert (await world.asker.refused("getBlockTime", slot + 10**6))["code"] == -32004


async def test_skipped_and_pruned_blocks_are_told_apart(world: World) -> None:
    cluster, asker = world.cluster, world.asker
    forked = await asker.ask("dev_fork", 2)
    assert (await asker.refused("getBlock", forked["slots"][0], CONFIRMED))["code"] == -32009
    await asker.ask("dev_advance", 200)
    first = await asker.ask("dev_prune", forked["slot"])
    assert first == cluster.first_available == forked["slot"]
    error = await asker.refused("getBlock", first - 1, CONFIRMED)
    assert error["code"] == -32001
    assert error["data"] == {"firstAvailableBlock": first}


async def test_blockhashes_and_fees(world: World) -> None:
    ask, value = world.asker.ask, world.asker.value
    latest = await value("getLatestBlockhash", CONFIRMED)
    assert latest["lastValidBlockHeight"] > await ask("getBlockHeight", CONFIRMED)
    assert await value("isBlockhashValid", latest["blockhash"], CONFIRMED) is True
    assert await value("isBlockhashValid", NOBODY, CONFIRMED) is False
    signed = await world.life.signed(world.life.minting(1))
    message = b64encode(to_bytes_versioned(signed.message)).decode()
    assert await value("getFeeForMessage", message, CONFIRMED) == 5000


async def test_balances_and_rent(world: World) -> None:
    assert await world.asker.value("getBalance", world.owner, CONFIRMED) > 0
    assert await world.asker.value("getBalance", str(Keypair().pubkey())) == 0
    assert await world.asker.ask("getMinimumBalanceForRentExemption", 0) == 890_880
    assert await world.asker.ask("getMinimumBalanceForRentExemption", 82) == 1_461_600


@pytest.mark.parametrize(
    ("encoding", "decode"),
    [
        ("base58", lambda data: base58.b58decode(data[0])),
        (None, base58.b58decode),
        ("base64", lambda data: b64decode(data[0])),
        ("base64+zstd", lambda data: _unzipped(b64decode(data[0]))),
        ("jsonParsed", lambda data: data["parsed"]["type"].encode()),
    ],
)
async def test_an_account_in_every_encoding(
    world: World, encoding: str | None, decode: Callable[[Any], bytes]
) -> None:
    held = world.cluster.account(world.life.mint.pubkey(), "confirmed")
    assert held is not None
    told = await world.asker.value("getAccountInfo", world.mint, {**CONFIRMED, "encoding": encoding})
    assert decode(told["data"]) == (b"mint" if encoding == "jsonParsed" else held.data)
    assert told["owner"] == str(SPL_TOKEN)
    assert told["space"] == 82
    assert told["lamports"] == held.lamports


def _unzipped(frame: bytes) -> bytes:
    """By the reference decoder where there is one; the frame's blocks are raw, so the data stands in it."""
    if which("zstd") is not None:
        return subprocess.run(["zstd", "-d", "-c"], input=frame, capture_output=True, check=True).stdout
    return frame[12:]


async def test_parts_of_accounts_and_what_base58_cannot_hold(world: World) -> None:
    part = {**CONFIRMED, "encoding": "base64", "dataSlice": {"offset": 64, "length": 8}}
    told = await world.asker.value("getAccountInfo", world.source, part)
    assert int.from_bytes(b64decode(told["data"][0]), "little") == 2_500_000_000
    error = await world.asker.refused("getAccountInfo", world.source, {**CONFIRMED, "encoding": "base58"})
    assert error["code"] == -32600
    assert await world.asker.value("getAccountInfo", str(Keypair().pubkey())) is None


async def test_several_accounts(world: World) -> None:
    told = await world.asker.value(
        "getMultipleAccounts", [world.source, str(Keypair().pubkey())], {**CONFIRMED, "encoding": "jsonParsed"}
    )
    assert told[0]["data"]["parsed"]["info"]["tokenAmount"]["uiAmountString"] == "2.5"
    assert told[0]["data"]["program"] == "spl-token"
    assert told[1] is None
    assert (await world.asker.refused("getMultipleAccounts", [world.source] * 101))["code"] == -32602


async def test_accounts_of_a_program(world: World) -> None:
    filters = [{"dataSize": 165}, {"memcmp": {"offset": 0, "bytes": world.mint}}]
    config = {**CONFIRMED, "encoding": "base64", "filters": filters}
    found = await world.asker.ask("getProgramAccounts", str(SPL_TOKEN), config)
    assert sorted(each["pubkey"] for each in found) == sorted([world.source, world.destination])
    with_slot = await world.asker.value("getProgramAccounts", str(SPL_TOKEN), {**config, "withContext": True})
    assert with_slot == found
    owner = b64encode(bytes(world.life.receiver.pubkey())).decode()
    filters[1]["memcmp"] = {"offset": 32, "bytes": owner, "encoding": "base64"}
    found = await world.asker.ask("getProgramAccounts", str(SPL_TOKEN), config)
    assert [each["pubkey"] for each in found] == [world.destination]


@pytest.mark.parametrize("world", [SPL_TOKEN, TOKEN_2022], indirect=True, ids=["spl-token", "token-2022"])
async def test_tokens(world: World) -> None:
    value, program = world.asker.value, str(world.life.program)
    amount = {"amount": "4500000000", "decimals": 9, "uiAmount": 4.5, "uiAmountString": "4.5"}
    assert await value("getTokenSupply", world.mint, CONFIRMED) == amount
    assert (await value("getTokenAccountBalance", world.destination, CONFIRMED))["amount"] == str(2 * UNIT)
    largest = await value("getTokenLargestAccounts", world.mint, CONFIRMED)
    assert [each["address"] for each in largest] == [world.source, world.destination]
    for wanted in ({"mint": world.mint}, {"programId": program}):
        held = await value("getTokenAccountsByOwner", world.owner, wanted, {**CONFIRMED, "encoding": "jsonParsed"})
        assert [each["pubkey"] for each in held] == [world.source]
        assert held[0]["account"]["data"]["parsed"]["info"]["mint"] == world.mint


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("getTokenSupply", lambda world: [world.source]),
        ("getTokenSupply", lambda world: [world.owner]),
        ("getTokenSupply", lambda world: [str(Keypair().pubkey())]),
        ("getTokenAccountBalance", lambda world: [world.mint]),
        ("getTokenAccountBalance", lambda world: [str(Keypair().pubkey())]),
        ("getTokenAccountsByOwner", lambda world: [world.owner, {}]),
        ("getTokenAccountsByOwner", lambda world: [world.owner, {"mint": world.owner}]),
        ("getTokenAccountsByOwner", lambda world: [world.owner, {"programId": world.owner}]),
        ("getTransaction", lambda world: [str(world.history[0]), {"commitment": "processed"}]),
        ("getTransaction", lambda world: [str(world.history[0]), {"encoding": "morse"}]),
        ("getTransaction", lambda world: ["short"]),
        ("getSignaturesForAddress", lambda world: [world.mint, {"limit": 1001}]),
        ("getSignaturesForAddress", lambda world: [world.mint, {"limit": 0}]),
        ("getSignatureStatuses", lambda world: [[MISSING] * 257]),
        ("getBlocks", lambda world: [0, 500_001]),
        ("getProgramAccounts", lambda world: [world.mint, {"filters": [{"dataSize": 1}] * 5}]),
        ("getProgramAccounts", lambda world: [world.mint, {"filters": [{"memcmp": {"bytes": "1" * 200}}]}]),
        ("simulateTransaction", lambda world: ["", {"sigVerify": True, "replaceRecentBlockhash": True}]),
        ("sendTransaction", lambda world: ["!", {"encoding": "base64"}]),
        ("sendTransaction", lambda world: [b64encode(bytes(1233)).decode(), {"encoding": "base64"}]),
        ("sendTransaction", lambda world: [b64encode(bytes(100)).decode(), {"encoding": "base64"}]),
        ("sendTransaction", lambda world: ["1" * 3000]),
        ("requestAirdrop", lambda world: [world.owner, -1]),
        ("requestAirdrop", lambda world: [world.owner, 0.5]),
        ("requestAirdrop", lambda world: [world.owner, 2**63]),
        ("getBalance", lambda world: []),
        ("getBalance", lambda world: [world.owner, {"commitment": "soon"}]),
        ("dev_fork", lambda world: [0]),
        ("dev_fork", lambda world: [31]),
        ("dev_prune", lambda world: [10**9]),
        ("dev_advance", lambda world: [10**6]),
        ("dev_drop", lambda world: [{"rate": 2}]),
        ("dev_drop", lambda world: [{"rate": True}]),
        ("dev_lag", lambda world: [1000]),
    ],
)
async def test_parameters_that_cannot_be_meant(
    world: World, method: str, params: Callable[[World], list[Any]]
) -> None:
    error = await world.asker.refused(method, *params(world))
    assert error["code"] == -32602
    assert error["message"]


async def test_history_with_pages_and_a_memo(world: World) -> None:
    burnt, transferred, minted, begun = map(str, world.history)
    found = await world.asker.ask("getSignaturesForAddress", world.source, CONFIRMED)
    assert [each["signature"] for each in found] == [burnt, transferred, minted, begun]
    assert found[2]["memo"] == "[9] reading 1"
    assert found[0]["memo"] is None
    assert found[0]["err"] is None
    assert {each["confirmationStatus"] for each in found} <= {"confirmed", "finalized"}
    config = {**CONFIRMED, "before": burnt, "until": begun, "limit": 1}
    assert [each["signature"] for each in await _history(world, config)] == [transferred]
    nulls = {**CONFIRMED, "before": None, "until": None, "limit": None, "minContextSlot": None}
    assert [each["signature"] for each in await _history(world, nulls)] == [burnt, transferred, minted, begun]


async def _history(world: World, config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await world.asker.ask("getSignaturesForAddress", world.source, config)
    return found


async def test_a_transaction_in_every_encoding(world: World) -> None:
    minted = str(world.history[2])
    raw = {
        encoding: (await world.asker.ask("getTransaction", minted, {**READS_V0, "encoding": encoding}))[
            "transaction"
        ]
        for encoding in ("base64", "base58", "binary")
    }
    data = b64decode(raw["base64"][0])
    assert base58.b58decode(raw["base58"][0]) == base58.b58decode(raw["binary"]) == data
    told = await world.asker.ask("getTransaction", minted, READS_V0)
    assert told["version"] == 0
    assert told["transaction"]["signatures"] == [minted]
    assert told["transaction"]["message"]["addressTableLookups"] == []
    assert told["meta"]["status"] == {"Ok": None}
    assert told["meta"]["loadedAddresses"] == {"writable": [], "readonly": []}
    assert told["meta"]["fee"] == 5000
    assert [each["uiTokenAmount"]["amount"] for each in told["meta"]["postTokenBalances"]] == [str(5 * UNIT)]
    assert told["meta"]["postTokenBalances"][0]["owner"] == world.owner
    assert (await world.asker.refused("getTransaction", minted, CONFIRMED))["code"] == -32015
    assert await world.asker.ask("getTransaction", MISSING, READS_V0) is None


async def test_a_transaction_in_words(world: World) -> None:
    begun = await world.asker.ask("getTransaction", str(world.history[3]), {**READS_V0, "encoding": "jsonParsed"})
    message = begun["transaction"]["message"]
    kinds = [each["parsed"]["type"] for each in message["instructions"]]
    assert kinds == ["createAccount", "initializeMint2", "createIdempotent", "createIdempotent"]
    inner = [each["parsed"]["type"] for each in begun["meta"]["innerInstructions"][0]["instructions"]]
    assert inner == ["getAccountDataSize", "createAccount", "initializeImmutableOwner", "initializeAccount3"]
    keys = {each["pubkey"]: each for each in message["accountKeys"]}
    assert keys[world.owner] == {"pubkey": world.owner, "signer": True, "writable": True, "source": "transaction"}
    assert not keys[str(SPL_TOKEN)]["writable"]
    minted = await world.asker.ask("getTransaction", str(world.history[2]), {**READS_V0, "encoding": "jsonParsed"})
    memo, minting = minted["transaction"]["message"]["instructions"]
    assert memo["program"] == "spl-memo"
    assert memo["parsed"] == "reading 1"
    assert minting["parsed"]["info"] == {
        "mint": world.mint,
        "account": world.source,
        "mintAuthority": world.owner,
        "tokenAmount": {"amount": str(5 * UNIT), "decimals": 9, "uiAmount": 5.0, "uiAmountString": "5"},
    }


async def test_statuses(world: World) -> None:
    known, unknown = await world.asker.value("getSignatureStatuses", [str(world.history[0]), MISSING])
    assert unknown is None
    assert known["err"] is None
    assert known["status"] == {"Ok": None}
    assert known["confirmationStatus"] in {"confirmed", "finalized"}
    assert (known["confirmations"] is None) == (known["confirmationStatus"] == "finalized")


async def test_preflight_says_what_would_go_wrong(world: World) -> None:
    signed = await world.life.signed(world.life.burning(99 * UNIT))
    config = {"encoding": "base64", "preflightCommitment": "confirmed"}
    error = await world.asker.refused("sendTransaction", b64encode(bytes(signed)).decode(), config)
    assert error["code"] == -32002
    assert error["message"].endswith("Error processing Instruction 0: custom program error: 0x1")
    assert error["data"]["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert any("insufficient funds" in line for line in error["data"]["logs"])
    assert {"accounts", "unitsConsumed", "returnData"} <= error["data"].keys()


async def test_a_failed_transaction_that_was_sent_all_the_same(world: World) -> None:
    signed = await world.life.signed(world.life.burning(99 * UNIT))
    config = {"skipPreflight": True}
    sent = await world.asker.ask("sendTransaction", base58.b58encode(bytes(signed)).decode(), config)
    await world.cluster.advance(2)
    error = {"InstructionError": [0, {"Custom": 1}]}
    status = (await world.asker.value("getSignatureStatuses", [sent]))[0]
    assert status["err"] == error
    assert status["status"] == {"Err": error}
    assert (await world.asker.ask("getTransaction", sent, READS_V0))["meta"]["err"] == error


async def test_a_bad_signature_is_an_error_of_its_own(world: World) -> None:
    signed = bytearray(bytes(await world.life.signed(world.life.minting(1))))
    signed[5] ^= 1
    sent = b64encode(bytes(signed)).decode()
    assert (await world.asker.refused("sendTransaction", sent, {"encoding": "base64"}))["code"] == -32003


async def test_a_simulation_shows_accounts_and_inner_instructions_and_changes_nothing(world: World) -> None:
    signed = await world.life.signed(world.life.minting(UNIT))
    config = {
        **CONFIRMED,
        "encoding": "base64",
        "sigVerify": True,
        "innerInstructions": True,
        "accounts": {"encoding": "jsonParsed", "addresses": [world.mint, world.destination, NOBODY]},
    }
    told = await world.asker.value("simulateTransaction", b64encode(bytes(signed)).decode(), config)
    assert told["err"] is None
    assert told["unitsConsumed"] > 0
    assert told["innerInstructions"] == []
    supply, held, _ = told["accounts"]
    assert supply["data"]["parsed"]["info"]["supply"] == "5500000000"
    assert held["data"]["parsed"]["info"]["tokenAmount"]["amount"] == str(2 * UNIT)
    assert (await world.asker.value("getTokenSupply", world.mint, CONFIRMED))["amount"] == "4500000000"


async def test_a_simulation_may_take_a_recent_blockhash(world: World) -> None:
    old = Transaction(
        [world.life.authority],
        Message.new_with_blockhash(
            [
                transfer(
                    TransferParams(
                        from_pubkey=world.life.authority.pubkey(), to_pubkey=Pubkey.default(), lamports=1
                    )
                )
            ],
            world.life.authority.pubkey(),
            world.cluster.genesis_hash,
        ),
        world.cluster.genesis_hash,
    )
    sent, config = b64encode(bytes(old)).decode(), {**CONFIRMED, "encoding": "base64"}
    assert (await world.asker.value("simulateTransaction", sent, config))["err"] == "BlockhashNotFound"
    told = await world.asker.value("simulateTransaction", sent, {**config, "replaceRecentBlockhash": True})
    assert told["replacementBlockhash"]["lastValidBlockHeight"] > 0
    assert told["err"] != "BlockhashNotFound"


async def test_faults_are_set_and_shown(world: World) -> None:
    ask = world.asker.ask
    assert (await ask("dev_drop", {"rate": 0.5, "seed": 7}))["plan"]["dropRate"] == 0.5
    assert (await ask("dev_late", {"rate": 0.25, "minSlots": 1, "maxSlots": 9}))["plan"]["lateMaxSlots"] == 9
    assert (await ask("dev_notFound", {"signatures": [str(world.history[0])]}))["denied"] == [str(world.history[0])]
    assert (await world.asker.value("getSignatureStatuses", [str(world.history[0])]))[0] is None
    told = await ask("dev_faults")
    assert told["plan"]["dropRate"] == 0.5
    assert told["counts"]["denied"] >= 1
    assert (await ask("dev_faults", {"clear": True}))["plan"]["dropRate"] == 0
    assert (await ask("dev_faults", {"lagSlots": 2}))["plan"]["lagSlots"] == 2
    assert (await ask("dev_lag", 0))["plan"]["lagSlots"] == 0
    await ask("dev_loseAnswers", {"next": 1})
    signed = await world.life.signed(world.life.minting(1))
    with pytest.raises(AnswerLost):
        await ask(
            "sendTransaction", b64encode(bytes(signed)).decode(), {"encoding": "base64", "skipPreflight": True}
        )
    assert (await world.asker.value("getSignatureStatuses", [str(signed.signatures[0])]))[0] is not None


async def test_a_fork_tells_what_vanished(world: World) -> None:
    signed = await world.life.signed(world.life.minting(1))
    config = {"encoding": "base64", "preflightCommitment": "confirmed"}
    sent = await world.asker.ask("sendTransaction", b64encode(bytes(signed)).decode(), config)
    forked = await world.asker.ask("dev_fork", 2, {"drop": [sent]})
    assert forked["vanished"] == [sent]
    assert (await world.asker.value("getSignatureStatuses", [sent]))[0] is None


async def test_every_method_is_looked_at_here(world: World) -> None:
    """A method without a test in this file is not to be added."""
    text = Path(__file__).read_text()
    assert [name for name in world.asker.service.methods if f'"{name}"' not in text] == []


async def test_every_method_is_in_the_manual(world: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "SOLANA.md").read_text()
    assert [name for name in world.asker.service.methods if f"`{name}" not in page] == []
