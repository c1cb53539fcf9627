"""What the embedded cluster shows of accounts and instructions, read from their bytes."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from shutil import which
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders import system_program as system
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from spl.token import instructions as spl
from spl.token import models

from bridge.cluster.rpc import known
from bridge.cluster.rpc.amounts import decimal_text, ui_amount
from bridge.cluster.rpc.encodings import zstd_frame
from bridge.cluster.rpc.instructions import parsed_view
from bridge.cluster.rpc.token_accounts import mint_of, parsed_token_data

A, B, C, D = (Pubkey.from_bytes(bytes([number]) * 32) for number in range(1, 5))
MINT_BYTES, ACCOUNT_BYTES = 82, 165


def told(instruction: Instruction) -> Any:
    """In words, with addresses as letters."""
    names = {str(key): letter for key, letter in zip((A, B, C, D), "ABCD", strict=True)}
    accounts = [names.get(str(each.pubkey), str(each.pubkey)) for each in instruction.accounts]
    shown = parsed_view(instruction.program_id, accounts, instruction.data, 1)
    assert shown["stackHeight"] == 1
    parsed = shown["parsed"]
    info = {
        name: names.get(value, value) if isinstance(value, str) else value for name, value in parsed["info"].items()
    }
    return parsed["type"], info


TOKENS = {"amount": "1500000000", "decimals": 9, "uiAmount": 1.5, "uiAmountString": "1.5"}
PROGRAM = {"program_id": known.TOKEN}
CASES = [
    (
        spl.transfer(models.TransferParams(**PROGRAM, source=A, dest=B, owner=C, amount=7)),
        ("transfer", {"source": "A", "destination": "B", "authority": "C", "amount": "7"}),
    ),
    (
        spl.transfer(models.TransferParams(**PROGRAM, source=A, dest=B, owner=C, amount=7, signers=[D])),
        (
            "transfer",
            {"source": "A", "destination": "B", "multisigAuthority": "C", "signers": ["D"], "amount": "7"},
        ),
    ),
    (
        spl.mint_to(models.MintToParams(**PROGRAM, mint=A, dest=B, mint_authority=C, amount=7)),
        ("mintTo", {"mint": "A", "account": "B", "mintAuthority": "C", "amount": "7"}),
    ),
    (
        spl.burn_checked(
            models.BurnCheckedParams(**PROGRAM, mint=A, account=B, owner=C, amount=1_500_000_000, decimals=9)
        ),
        ("burnChecked", {"account": "B", "mint": "A", "authority": "C", "tokenAmount": TOKENS}),
    ),
    (
        spl.approve(models.ApproveParams(**PROGRAM, source=A, delegate=B, owner=C, amount=7)),
        ("approve", {"source": "A", "delegate": "B", "owner": "C", "amount": "7"}),
    ),
    (spl.revoke(models.RevokeParams(**PROGRAM, account=A, owner=B)), ("revoke", {"source": "A", "owner": "B"})),
    (
        spl.close_account(models.CloseAccountParams(**PROGRAM, account=A, dest=B, owner=C)),
        ("closeAccount", {"account": "A", "destination": "B", "owner": "C"}),
    ),
    (
        spl.freeze_account(models.FreezeAccountParams(**PROGRAM, account=A, mint=B, authority=C)),
        ("freezeAccount", {"account": "A", "mint": "B", "freezeAuthority": "C"}),
    ),
    (
        spl.set_authority(
            models.SetAuthorityParams(
                **PROGRAM,
                account=A,
                authority=models.AuthorityType.MINT_TOKENS,
                current_authority=B,
                new_authority=C,
            )
        ),
        ("setAuthority", {"mint": "A", "authorityType": "mintTokens", "newAuthority": "C", "authority": "B"}),
    ),
    (
        spl.initialize_mint2(
            models.InitializeMint2Params(**PROGRAM, mint=A, decimals=9, mint_authority=B, freeze_authority=C)
        ),
        ("initializeMint2", {"mint": "A", "decimals": 9, "mintAuthority": "B", "freezeAuthority": "C"}),
    ),
    (
        spl.initialize_account3(models.InitializeAccount3Params(**PROGRAM, account=A, mint=B, owner=C)),
        ("initializeAccount3", {"account": "A", "mint": "B", "owner": "C"}),
    ),
    (spl.sync_native(models.SyncNativeParams(**PROGRAM, account=A)), ("syncNative", {"account": "A"})),
    (
        system.transfer(system.TransferParams(from_pubkey=A, to_pubkey=B, lamports=7)),
        ("transfer", {"source": "A", "destination": "B", "lamports": 7}),
    ),
    (
        system.create_account(
            system.CreateAccountParams(from_pubkey=A, to_pubkey=B, lamports=7, space=82, owner=C)
        ),
        ("createAccount", {"source": "A", "newAccount": "B", "lamports": 7, "space": 82, "owner": "C"}),
    ),
    (
        system.allocate_with_seed(
            system.AllocateWithSeedParams(address=A, base=B, seed="reading", space=0, owner=C)
        ),
        ("allocateWithSeed", {"account": "A", "base": "B", "seed": "reading", "space": 0, "owner": "C"}),
    ),
    (
        system.advance_nonce_account(system.AdvanceNonceAccountParams(nonce_pubkey=A, authorized_pubkey=B)),
        (
            "advanceNonce",
            {
                "nonceAccount": "A",
                "recentBlockhashesSysvar": "SysvarRecentB1ockHashes11111111111111111111",
                "nonceAuthority": "B",
            },
        ),
    ),
]


@pytest.mark.parametrize(("instruction", "expected"), CASES, ids=[case[1][0] for case in CASES])
def test_instructions_in_words(instruction: Instruction, expected: tuple[str, dict[str, Any]]) -> None:
    assert told(instruction) == expected


@given(
    st.sampled_from([known.TOKEN, known.SYSTEM, known.ASSOCIATED_TOKEN, known.MEMO, A]),
    st.binary(max_size=80),
    st.integers(0, 8),
)
def test_whatever_cannot_be_read_is_shown_as_it_is(program: Pubkey, data: bytes, count: int) -> None:
    shown = parsed_view(program, [str(A)] * count, data, None)
    assert shown["programId"] == str(program)
    assert ("parsed" in shown) != ("data" in shown)


@given(st.integers(0, 2**64 - 1), st.integers(0, 20))
def test_amounts_lose_nothing(units: int, decimals: int) -> None:
    assert Decimal(decimal_text(units, decimals)).scaleb(decimals) == units
    assert ui_amount(units, decimals)["amount"] == str(units)


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [(0, 9, "0"), (1, 9, "0.000000001"), (4_500_000_000, 9, "4.5"), (100, 0, "100"), (100, 2, "1")],
)
def test_amounts_have_no_needless_zeros(units: int, decimals: int, text: str) -> None:
    assert decimal_text(units, decimals) == text


@pytest.mark.skipif(which("zstd") is None, reason="the zstd program is not installed")
@pytest.mark.parametrize("size", [0, 1, 255, 256, 131_071, 131_072, 131_073, 400_000])
def test_frames_are_read_by_the_reference_decoder(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    done = subprocess.run(["zstd", "-d", "-c"], input=zstd_frame(data), capture_output=True, check=True)
    assert done.stdout == data


def mint_bytes(supply: int, decimals: int, *, initialized: int = 1) -> bytes:
    some = (1).to_bytes(4, "little")
    return some + bytes(A) + supply.to_bytes(8, "little") + bytes([decimals, initialized]) + bytes(36)


def account_bytes(units: int, *, state: int = 1, native: bool = False) -> bytes:
    delegate, reserve = bytes(36), (int(native)).to_bytes(4, "little") + (890_880).to_bytes(8, "little")
    return (
        bytes(A)
        + bytes(B)
        + units.to_bytes(8, "little")
        + delegate
        + bytes([state])
        + reserve
        + bytes(8)
        + bytes(36)
    )


def extended(base: bytes, kind: int, *extensions: tuple[int, bytes]) -> bytes:
    """A Token-2022 account: padded to a token account's size, marked with its kind, then the extensions."""
    packed = b"".join(
        number.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value for number, value in extensions
    )
    return base.ljust(ACCOUNT_BYTES, b"\0") + bytes([kind]) + packed


def test_a_mint_and_its_extensions() -> None:
    data = extended(
        mint_bytes(7, 9), 1, (26, bytes(B) + b"\1"), (3, bytes(32)), (18, bytes(A) + bytes(C)), (99, b"")
    )
    mint = mint_of(data)
    assert mint is not None
    assert (mint.supply, mint.decimals, mint.mint_authority, mint.freeze_authority) == (7, 9, str(A), None)
    parsed = parsed_token_data(data, lambda _: None)
    assert parsed is not None
    assert parsed["type"] == "mint"
    assert parsed["info"]["extensions"] == [
        {"extension": "pausableConfig", "state": {"authority": str(B), "paused": True}},
        {"extension": "mintCloseAuthority", "state": {"closeAuthority": None}},
        {"extension": "metadataPointer", "state": {"authority": str(A), "metadataAddress": str(C)}},
        {"extension": "unparseableExtension"},
    ]


def test_a_token_account_and_its_extensions() -> None:
    data = extended(account_bytes(5), 2, (7, b""), (8, b"\1"), (11, b""))
    parsed = parsed_token_data(data, lambda _: 9)
    assert parsed is not None
    info = parsed["info"]
    assert (info["mint"], info["owner"], info["state"], info["isNative"]) == (str(A), str(B), "initialized", False)
    assert info["tokenAmount"]["amount"] == "5"
    assert info["extensions"] == [
        {"extension": "immutableOwner"},
        {"extension": "memoTransfer", "state": {"requireIncomingTransferMemos": True}},
        {"extension": "unparseableExtension"},
    ]


def test_a_native_account_names_its_reserve() -> None:
    parsed = parsed_token_data(account_bytes(5, state=2, native=True), lambda _: 9)
    assert parsed is not None
    assert parsed["info"]["state"] == "frozen"
    assert parsed["info"]["rentExemptReserve"]["amount"] == "890880"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(MINT_BYTES),
        bytes(ACCOUNT_BYTES),
        mint_bytes(7, 9, initialized=0),
        account_bytes(5, state=0),
        extended(mint_bytes(7, 9), 2),
        bytes(MINT_BYTES + 1),
    ],
)
def test_what_is_neither_mint_nor_token_account(data: bytes) -> None:
    assert parsed_token_data(data, lambda _: 9) is None


def test_a_multisig() -> None:
    data = bytes([2, 3, 1]) + bytes(A) + bytes(B) + bytes(C) + bytes(8 * 32)
    parsed = parsed_token_data(data, lambda _: None)
    assert parsed == {
        "type": "multisig",
        "info": {
            "numRequiredSigners": 2,
            "numValidSigners": 3,
            "isInitialized": True,
            "signers": [str(A), str(B), str(C)],
        },
    }


@given(st.binary(min_size=166, max_size=300), st.sampled_from([1, 2]))
def test_any_bytes_are_looked_at_without_a_fault(data: bytes, kind: int) -> None:
    marked = data[:ACCOUNT_BYTES] + bytes([kind]) + data[ACCOUNT_BYTES + 1 :]
    parsed_token_data(marked, lambda _: 9)
