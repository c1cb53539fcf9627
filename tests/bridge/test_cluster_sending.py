"""What the cluster takes, what it refuses and how, and what lands with an error."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM
from solders.transaction import VersionedTransaction

from bridge.cluster.keys import LOOKUP_TABLES
from bridge.cluster.refusals import BadSignature, Malformed, PreflightFailed
from config.errors import BadRequest
from tests.bridge.cluster_kit import SOL, Bench, keypair, memo, opened, pay, signature_of, signed


async def test_bytes_that_are_no_transaction_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        good = bench.build([memo("good")])
        for raw in (b"", b"\x01" * 100, bytes(200), good[:-1], good + b"\x00", good + bytes(1232)):
            with pytest.raises(Malformed):
                await cluster.send(raw, skip_preflight=True)
            with pytest.raises(Malformed):
                await cluster.simulate(raw)


async def test_size_is_bounded_to_the_byte(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        spare = 1232 - len(bench.build([memo("x" * 500)]))
        await bench.must([memo("x" * (500 + spare))])
        with pytest.raises(Malformed, match="1233 bytes"):
            await bench.send([memo("x" * (501 + spare))])


async def test_a_changed_byte_breaks_the_signature(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        raw = bytearray(bench.build([memo("paid")]))
        raw[-2] ^= 1
        for skip in (True, False):
            with pytest.raises(BadSignature):
                await cluster.send(bytes(raw), skip_preflight=skip, preflight_commitment="processed")
        with pytest.raises(BadSignature):
            await cluster.simulate(bytes(raw), sig_verify=True, commitment="processed")
        assert (await cluster.simulate(bytes(raw), commitment="processed")).error is None


@pytest.mark.parametrize("message_type", [Message, MessageV0], ids=["legacy", "v0"])
async def test_both_versions_land(tmp_path: Path, message_type: type[Message] | type[MessageV0]) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        blockhash, payer = cluster.latest_blockhash("processed").value, bench.payer
        if message_type is Message:
            message = Message.new_with_blockhash([memo("hello")], payer.pubkey(), blockhash)
        else:
            message = MessageV0.try_compile(payer.pubkey(), [memo("hello")], [], blockhash)
        raw = bytes(VersionedTransaction(message, [payer]))
        executed = await cluster.executed(await cluster.send(raw, preflight_commitment="processed"), "processed")
        assert executed is not None
        assert executed.raw == raw


async def test_preflight_tells_what_would_fail_and_nothing_lands(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        raw = bench.build([memo("first"), pay(bench.payer, keypair("target").pubkey(), 10**15)])
        with pytest.raises(PreflightFailed) as caught:
            await cluster.send(raw, preflight_commitment="processed")
        message = "Transaction simulation failed: Error processing Instruction 1: custom program error: 0x1"
        assert caught.value.message == message
        simulated = caught.value.simulated
        assert simulated.error == {"InstructionError": [1, {"Custom": 1}]}
        assert any("insufficient lamports" in line for line in simulated.logs)
        assert simulated.compute_units > 0
        assert await cluster.statuses([signature_of(raw)], history=True) == [None]


async def test_preflight_looks_at_the_state_of_its_commitment(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        await cluster.advance(40)
        bench = Bench(cluster)
        await bench.fund()
        raw = signed([memo("paid?")], [bench.payer], cluster.latest_blockhash("finalized").value)
        with pytest.raises(PreflightFailed) as caught:
            await cluster.send(raw)
        assert caught.value.simulated.error == "AccountNotFound"
        assert cluster.account(bench.payer.pubkey(), "processed").lamports == 100 * SOL
        await cluster.send(raw, preflight_commitment="processed")


async def test_what_landed_is_not_executed_again(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        raw = bench.build([pay(bench.payer, target, SOL)])
        signatures = {await cluster.send(raw, skip_preflight=True) for _ in range(3)}
        assert len(signatures) == 1
        with pytest.raises(PreflightFailed, match="already been processed") as caught:
            await cluster.send(raw, preflight_commitment="processed")
        assert caught.value.simulated.error == "AlreadyProcessed"
        await cluster.advance(100)
        await cluster.send(raw, skip_preflight=True)
        assert cluster.account(target, "processed").lamports == SOL


async def test_who_cannot_pay_never_lands(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        poor = keypair("poor")
        raw = signed([memo("free?")], [poor], cluster.latest_blockhash("processed").value)
        signature = await cluster.send(raw, skip_preflight=True)
        assert await cluster.statuses([signature], history=True) == [None]
        await cluster.airdrop(poor.pubkey(), 1_000_000)
        assert await cluster.executed(await cluster.send(raw, skip_preflight=True), "processed") is not None


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("program", "ProgramAccountNotFound|InvalidProgramForExecution"),
        ("rent", "InsufficientFundsForRent"),
        ("limit", "InstructionError"),
    ],
)
async def test_what_fails_in_execution_lands_and_pays(tmp_path: Path, case: str, error: str) -> None:
    instructions = {
        "program": [Instruction(keypair("no program").pubkey(), b"", [])],
        "rent": [pay(keypair("payer"), keypair("dust").pubkey(), 5)],
        "limit": [set_compute_unit_limit(1_000), memo("x" * 600, keypair("payer").pubkey())],
    }[case]
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        failed = await bench.done(instructions)
        assert (failed.error if isinstance(failed.error, str) else next(iter(failed.error))) in error.split("|")
        assert failed.pre_lamports[0] - failed.post_lamports[0] == failed.fee == 5_000
        assert failed.changed == (bench.payer.pubkey(),)


async def test_fees_follow_signatures_and_the_price(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench, second = Bench(cluster), keypair("second")
        await bench.fund()
        instructions = [
            set_compute_unit_limit(50_000),
            set_compute_unit_price(2_000_000),
            memo("fee", second.pubkey()),
        ]
        message = MessageV0.try_compile(
            bench.payer.pubkey(), instructions, [], cluster.latest_blockhash("processed").value
        )
        encoded = bytes(VersionedTransaction(message, [bench.payer, second]))[1 + 2 * Signature.LENGTH :]
        assert cluster.fee_for(encoded, "processed") == 10_000 + 100_000
        done = await bench.must(instructions, second)
        assert done.fee == 110_000
        unknown = MessageV0.try_compile(bench.payer.pubkey(), instructions, [], Hash.default())
        encoded = bytes(VersionedTransaction(unknown, [bench.payer, second]))[1 + 2 * Signature.LENGTH :]
        assert cluster.fee_for(encoded, "processed") is None
        with pytest.raises(Malformed):
            cluster.fee_for(b"\x80nonsense", "processed")


async def test_a_simulation_has_no_effect(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        raw = signed([pay(bench.payer, target, SOL)], [bench.payer], Hash.default())
        assert (await cluster.simulate(raw, commitment="processed")).error == "BlockhashNotFound"
        simulated = await cluster.simulate(raw, replace_blockhash=True, commitment="processed")
        assert simulated.error is None
        assert simulated.accounts[target].lamports == SOL
        assert simulated.blockhash == cluster.latest_blockhash("processed").value
        assert cluster.account(target, "processed") is None


async def test_long_logs_are_cut_as_on_a_cluster(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        short = await bench.must([memo("short", bench.payer.pubkey())])
        assert "Log truncated" not in short.logs
        long = await bench.done([set_compute_unit_limit(1_400_000), *[memo(b"z", bench.payer.pubkey())] * 60])
        assert long.error is None
        assert long.logs.count("Log truncated") == 1
        assert sum(map(len, long.logs)) < 10_100


async def test_the_faucet_gives_what_it_has(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        for lamports in (0, -1, 10**18, 2**64):
            with pytest.raises(BadRequest):
                await cluster.airdrop(target, lamports)
        signatures = {await cluster.airdrop(target, 10**15) for _ in range(3)}
        assert len(signatures) == 3
        assert cluster.account(target, "processed").lamports == 3 * 10**15


def _table_instruction(data: bytes, accounts: list[tuple[Pubkey, bool, bool]]) -> Instruction:
    metas = [AccountMeta(key, is_signer=signs, is_writable=writes) for key, signs, writes in accounts]
    return Instruction(LOOKUP_TABLES, data, metas)


async def test_lookup_tables_are_resolved(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(3)
        payer, slot = bench.payer.pubkey(), cluster.slot("confirmed")
        table, bump = Pubkey.find_program_address([bytes(payer), struct.pack("<Q", slot)], LOOKUP_TABLES)
        accounts = [(table, False, True), (payer, True, True), (payer, True, True), (SYSTEM, False, False)]
        target, other = keypair("target").pubkey(), keypair("other").pubkey()
        entries = [other, target]
        extend = struct.pack("<IQ", 2, len(entries)) + b"".join(bytes(each) for each in entries)
        create = struct.pack("<IQB", 0, slot, bump)
        await bench.must([_table_instruction(create, accounts), _table_instruction(extend, accounts)])
        await cluster.advance()
        lookup = AddressLookupTableAccount(table, entries)
        instructions = [pay(bench.payer, target, SOL)]
        blockhash = cluster.latest_blockhash("processed").value
        message = MessageV0.try_compile(payer, instructions, [lookup], blockhash)
        raw = bytes(VersionedTransaction(message, [bench.payer]))
        done = await cluster.executed(await cluster.send(raw, preflight_commitment="processed"), "processed")
        assert done is not None
        assert (done.error, done.loaded_writable, done.loaded_readonly) == (None, 1, 0)
        assert done.keys[-1] == target
        assert done.post_lamports[-1] == SOL
        assert [each.signature for each in await cluster.signatures_for(target, commitment="processed")] == [
            done.signature
        ]
        missing = AddressLookupTableAccount(other, entries)
        message = MessageV0.try_compile(payer, instructions, [missing], blockhash)
        with pytest.raises(PreflightFailed) as caught:
            await cluster.send(
                bytes(VersionedTransaction(message, [bench.payer])), preflight_commitment="processed"
            )
        assert caught.value.simulated.error == "AddressLookupTableNotFound"
