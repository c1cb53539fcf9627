"""GridTokenX's programs: names are their discriminators' hashes, accounts are as declared, addresses as known."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import orjson
import pytest
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID

from bridge.programs import pda
from bridge.programs.borsh import BorshError, Scalar, Struct, encode
from bridge.programs.energy_token import Deployment, MintDirect, MintGeneration, MintToWallet
from bridge.programs.idl import Idl, discriminator, idl
from bridge.programs.mode import Facts
from bridge.programs.settlement import Settlement
from bridge.programs.tokens import associated_account
from bridge.solana.rpc import AccountState
from config.errors import BadRequest, ErrorCode, Internal
from tests.bridge.programs_kit import GENESIS, START_MS, order

NAMES = ["energy_token", "registry", "oracle", "governance"]

ENERGY_TOKEN = Pubkey.from_string("6FZKcVKCLFSNLMxypFJGU4K14xUBnxNW9VAuKGhmqjGX")
REGISTRY = Pubkey.from_string("FcSd5x4X1nzJMKLZC4tMZXnQ1ipLrGsEfeoH8N4mvJX7")
ORACLE = Pubkey.from_string("64Vgos61STZ8pW9NnHi2iGtXMTQr7NqBoMorK6Zg8RJU")
GOVERNANCE = Pubkey.from_string("FokVuBSPXP11aeL7VZWd8n8aVAhWqVpyPZETToSxdvTS")

AUTHORITY, VALIDATOR, PAYER, REGISTRY_AUTHORITY = (
    Pubkey.from_bytes(bytes([number]) * 32) for number in range(1, 5)
)
AT = Deployment(ENERGY_TOKEN, AUTHORITY, VALIDATOR, PAYER)


def raw(name: str) -> dict[str, Any]:
    return orjson.loads((files("bridge.programs") / "idl" / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_every_discriminator_is_the_hash_of_its_name(name: str) -> None:
    for section, space in (("instructions", "global"), ("events", "event"), ("accounts", "account")):
        for one in raw(name)[section]:
            assert bytes(one["discriminator"]) == discriminator(space, one["name"]), one["name"]


@pytest.mark.parametrize("name", NAMES)
def test_the_idls_hold_facts_only(name: str) -> None:
    text = (files("bridge.programs") / "idl" / f"{name}.json").read_text()
    assert not [word for word in ('"docs"', '"msg"', '"description"') if word in text]


@pytest.mark.parametrize(
    ("program", "kind", "name", "expected"),
    [
        ("energy_token", "methods", "mint_generation", "6f6827bfd1b3c342"),
        ("energy_token", "methods", "mint_to_wallet", "1128476b8ee8a364"),
        ("energy_token", "methods", "mint_tokens_direct", "0df61fed631358e2"),
        ("registry", "methods", "settle_meter_balance", "b22ef1ca35634f77"),
        ("registry", "methods", "settle_and_mint_tokens", "3367a441a0398edc"),
        ("registry", "methods", "update_meter_reading", "c0dc87175916a382"),
        ("governance", "methods", "issue_erc", "aef8956b9b04c408"),
        ("energy_token", "events", "GridTokensMinted", "b2ab099d15f7d3d2"),
        ("energy_token", "events", "TokensMinted", "cfd480c2af364018"),
        ("registry", "events", "MeterBalanceSettled", "1e1a16cc07fa9d21"),
        ("oracle", "events", "MeterReadingSubmitted", "7417b45bb4e3a08d"),
        ("governance", "events", "RecMinted", "dbde130bd5709142"),
    ],
)
def test_discriminators_are_those_that_are_known(program: Any, kind: str, name: str, expected: str) -> None:
    found = getattr(idl(program), kind)
    record = found[name] if kind == "methods" else found[bytes.fromhex(expected)]
    assert (record.name, record.discriminator.hex()) == (name, expected)


@pytest.mark.parametrize(
    ("name", "address"), [*zip(NAMES, [ENERGY_TOKEN, REGISTRY, ORACLE, GOVERNANCE], strict=True)]
)
def test_the_programs_addresses(name: Any, address: Pubkey) -> None:
    assert idl(name).address == address


@pytest.mark.parametrize("name", NAMES)
def test_accounts_in_cs_layout_declare_all_their_padding(name: Any) -> None:
    """They are read one field after the other, which is right as long as no field is out of line."""
    for record in idl(name).accounts.values():
        if record.name in {"TokenInfo", "Registry", "RegistryShard", "MeterAccount", "UserAccount", "OracleData"}:
            _check_alignment(idl(name), record.struct)


def _check_alignment(program: Idl, struct: Struct) -> None:
    at = 0
    for field in struct.fields:
        sizes = {"u8": 1, "u16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "bool": 1}
        size = sizes.get(field.type.name, 1) if isinstance(field.type, Scalar) else 1
        assert at % size == 0, field.name
        at += _bytes_of(program, field.type)
    assert at % 8 == 0


def _bytes_of(program: Idl, kind: Any) -> int:
    if isinstance(kind, Scalar):
        return {"u8": 1, "u16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "bool": 1, "pubkey": 32}[kind.name]
    return kind.length * _bytes_of(program, kind.item) if hasattr(kind, "item") else 1


# What the programs take, from their public sources: * writable, ! signer, ? optional.
ACCOUNTS = {
    "mint_generation": "mint* token_info destination* destination_owner mint_record* authority! rec_validator!? "
    "payer*! token_program associated_token_program system_program",
    "mint_to_wallet": "mint* token_info destination* destination_owner authority! rec_validator!? "
    "payer*! token_program associated_token_program system_program",
    "mint_tokens_direct": "token_info mint* user_token_account* authority! registry_authority rec_validator! "
    "token_program",
    "settle_meter_balance": "meter_account* meter_owner!",
    "settle_and_mint_tokens": "meter_account* meter_owner! token_info* mint* user_token_account* registry* "
    "energy_token_program token_program rec_validator",
    "update_meter_reading": "registry meter_account* oracle_meter_state oracle_authority!",
}

WANTED = order("METER-001")
READY = Facts(has_destination=True, guard_lamports=10**9)
SETTLEMENT = Settlement(REGISTRY, ENERGY_TOKEN, ORACLE)
OWNER = WANTED.wallet
MINT = pda.mint(ENERGY_TOKEN)

BUILT = {
    "mint_generation": MintGeneration(AT).instructions(WANTED, READY)[-1],
    "mint_to_wallet": MintToWallet(GENESIS, AT).instructions(WANTED, READY)[-1],
    "mint_tokens_direct": MintDirect(GENESIS, AT, REGISTRY_AUTHORITY).instructions(WANTED, READY)[-1],
    "settle_meter_balance": SETTLEMENT.settle_meter_balance("METER-001", OWNER),
    "settle_and_mint_tokens": SETTLEMENT.settle_and_mint_tokens("METER-001", OWNER, VALIDATOR),
    "update_meter_reading": SETTLEMENT.update_meter_reading("METER-001", OWNER, AUTHORITY, 7, 3, 1_700_000_000),
}

BY_NAME = {
    "mint": MINT,
    "token_info": pda.token_info(ENERGY_TOKEN),
    "destination": associated_account(OWNER, MINT, TOKEN_2022_PROGRAM_ID),
    "user_token_account": associated_account(OWNER, MINT, TOKEN_2022_PROGRAM_ID),
    "destination_owner": OWNER,
    "meter_owner": OWNER,
    "mint_record": pda.gen_mint(ENERGY_TOKEN, pda.meter_bytes("METER-001"), START_MS),
    "authority": AUTHORITY,
    "oracle_authority": AUTHORITY,
    "registry_authority": REGISTRY_AUTHORITY,
    "rec_validator": VALIDATOR,
    "payer": PAYER,
    "token_program": TOKEN_2022_PROGRAM_ID,
    "associated_token_program": ASSOCIATED_TOKEN_PROGRAM_ID,
    "system_program": SYSTEM_PROGRAM_ID,
    "registry": pda.registry(REGISTRY),
    "meter_account": pda.meter(REGISTRY, OWNER, "METER-001"),
    "oracle_meter_state": pda.oracle_meter(ORACLE, "METER-001"),
    "energy_token_program": ENERGY_TOKEN,
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_instructions_have_the_declared_accounts(name: str) -> None:
    program = "energy_token" if name.startswith("mint") else "registry"
    slots = idl(program).methods[name].slots
    declared = [
        slot.name + "*" * slot.is_writable + "!" * slot.is_signer + "?" * slot.is_optional for slot in slots
    ]
    assert declared == ACCOUNTS[name].split()
    built = BUILT[name]
    assert built.program_id == idl(program).address
    assert [(meta.pubkey, meta.is_writable, meta.is_signer) for meta in built.accounts] == [
        (BY_NAME[slot.name], slot.is_writable, slot.is_signer) for slot in slots
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mint_generation",
            {"meter_id": pda.meter_bytes("METER-001"), "window_start_ms": START_MS, "amount": WANTED.units},
        ),
        ("mint_to_wallet", {"amount": WANTED.units}),
        ("mint_tokens_direct", {"amount": WANTED.units}),
        ("settle_meter_balance", {}),
        ("settle_and_mint_tokens", {}),
        (
            "update_meter_reading",
            {"energy_generated": 7, "energy_consumed": 3, "reading_timestamp": 1_700_000_000},
        ),
    ],
)
def test_instructions_have_the_declared_arguments(name: str, expected: dict[str, Any]) -> None:
    program = idl("energy_token" if name.startswith("mint") else "registry")
    assert program.arguments(name, BUILT[name].data) == expected
    assert program.arguments("initialize", BUILT[name].data) is None


def test_a_missing_optional_account_is_the_program_itself() -> None:
    alone = Deployment(ENERGY_TOKEN, AUTHORITY)
    for mode in (MintGeneration(alone), MintToWallet(GENESIS, alone)):
        call = mode.instructions(WANTED, READY)[-1]
        name = "mint_generation" if isinstance(mode, MintGeneration) else "mint_to_wallet"
        place = [slot.name for slot in idl("energy_token").methods[name].slots].index("rec_validator")
        meta = call.accounts[place]
        assert (meta.pubkey, meta.is_signer, meta.is_writable) == (ENERGY_TOKEN, False, False)


def test_accounts_and_arguments_that_are_not_declared_are_refused() -> None:
    program = idl("registry")
    with pytest.raises(Internal, match="meter_owner"):
        program.instruction(REGISTRY, "settle_meter_balance", {"meter_account": OWNER})
    with pytest.raises(Internal, match="not optional"):
        program.instruction(REGISTRY, "settle_meter_balance", {"meter_account": OWNER, "meter_owner": None})
    with pytest.raises(BorshError):
        program.instruction(
            REGISTRY, "settle_meter_balance", {"meter_account": OWNER, "meter_owner": OWNER}, amount=1
        )


# Seeds, from the programs' public sources.
SEEDS = {
    pda.token_info(ENERGY_TOKEN): (ENERGY_TOKEN, [b"token_info_2022"]),
    pda.mint(ENERGY_TOKEN): (ENERGY_TOKEN, [b"mint_2022"]),
    pda.gen_mint(ENERGY_TOKEN, bytes(16), 900_000): (
        ENERGY_TOKEN,
        [b"gen_mint", bytes(16), b"\xa0\xbb\x0d\0\0\0\0\0"],
    ),
    pda.registry(REGISTRY): (REGISTRY, [b"registry"]),
    pda.user(REGISTRY, OWNER): (REGISTRY, [b"user", bytes(OWNER)]),
    pda.meter(REGISTRY, OWNER, "M1"): (REGISTRY, [b"meter", bytes(OWNER), b"M1"]),
    pda.oracle_meter(ORACLE, "M1"): (ORACLE, [b"meter", b"M1"]),
    pda.erc_certificate(GOVERNANCE, "ERC-1"): (GOVERNANCE, [b"erc_certificate", b"ERC-1"]),
    pda.rec_mint(GOVERNANCE): (GOVERNANCE, [b"rec_mint"]),
    pda.governance_config(GOVERNANCE): (GOVERNANCE, [b"governance_config"]),
    pda.event_authority(ENERGY_TOKEN): (ENERGY_TOKEN, [b"__event_authority"]),
}


@pytest.mark.parametrize("address", SEEDS)
def test_derived_addresses(address: Pubkey) -> None:
    program, seeds = SEEDS[address]
    assert Pubkey.find_program_address(seeds, program)[0] == address
    assert not address.is_on_curve()


def test_a_name_too_long_for_a_seed_is_refused() -> None:
    assert pda.oracle_meter(ORACLE, "é" * 16)
    with pytest.raises(BadRequest):
        pda.oracle_meter(ORACLE, "é" * 16 + "x")


def test_a_meter_is_known_by_the_uuid_of_its_serial() -> None:
    assert pda.meter_bytes("METER-001").hex() == "fcd2935472cb50f7ba8f4824c6829d4d"


@pytest.mark.parametrize("start_ms", [0, -900_000, 1, START_MS + 300_000, START_MS + 1])
def test_only_full_quarters_of_an_hour_are_minted_by_window(start_ms: int) -> None:
    odd = replace(WANTED, interval_start_ms=start_ms)
    for ask in (MintGeneration(AT).guard, lambda one: MintGeneration(AT).instructions(one, READY)):
        with pytest.raises(BadRequest, match="METER-001") as refused:
            ask(odd)
        assert refused.value.code is ErrorCode.MINTING_FORBIDS


def test_a_record_of_a_window_tells_what_was_minted() -> None:
    program = idl("energy_token")
    mode = MintGeneration(AT)

    def account(owner: Pubkey = ENERGY_TOKEN, **changes: Any) -> AccountState:
        fields = {"meter_id": bytes(16), "window_start_ms": 0, "amount": 5, "minted": True, "bump": 255} | changes
        record = program.accounts[discriminator("account", "GenerationMintRecord")]
        return AccountState(1, owner, record.discriminator + encode(record.struct, program.types, fields))

    assert mode.recorded(account()) == 5
    assert mode.recorded(account(minted=False)) is None
    assert mode.recorded(account(owner=REGISTRY)) is None
    assert mode.recorded(AccountState(1, ENERGY_TOKEN, account().data[:20])) is None
    assert mode.recorded(AccountState(1, ENERGY_TOKEN, b"")) is None
