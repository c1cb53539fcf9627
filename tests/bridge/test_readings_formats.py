"""The texts that meters sign: fixed vectors, how times are written, and what a single changed byte does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.meters.body import ReadingBody
from bridge.meters.formats import Format, TimestampInvalid, moment_secs, signed_message, timestamp_secs
from bridge.meters.keys import is_signed, public_key_bytes, signature_bytes
from config.errors import ErrorCode, MetawattError
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter, public_of

WALLET = "US517G5965aydkZ46HS38QLi7UQiSojurfbQfKCELFx"
KEY = "6ASf5EcmmEHTgDJ4X4ZT5vT6iHVJBXPg5AN5YoTCpGWt"
"""Of the secret key 00…01."""
VECTORS = {
    Format.GRIDTOKENX: (
        "GRIDTOKENX_METER_READING\nmeter_serial: METER-001\ntimestamp: 2026-06-01T12:00:00Z\n"
        f"kwh_amount: 1.500000\nwallet: {WALLET}",
        "45ckNXuj6CSv5cQFXFtYbDwvduNW17cUeVSQrNRNuLTFE5kx91bVtPCWEQKykpdPAv9XkTqPxnhSW6RvM1iMj4mt",
    ),
    Format.COLON: (
        f"METER-001:1.500000:2026-06-01T12:00:00Z:{WALLET}",
        "4PoUseXsGkS8U8zBcmT3RrDyjTuMVqoRrE23v4kATAY9aaePH7ZgRbcUoKCmdL3DS4VFHJmqASrzmE4RgYssPFqW",
    ),
    Format.DEVICE: (
        "METER-001:1.500000:1780315200000",
        "2RUu29FmyXFg15MdgdYwprZcNJtHtTKnRnUA3FxSBTuhd8Gs9xUqkKRoUcjrRziWricgJfQdxAe1gWWai15LeWzM",
    ),
}
"""Made with PyNaCl; tests/interop holds TweetNaCl against the same texts."""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.open()
    yield made
    await made.store.close()


@pytest.mark.parametrize("form", Format)
def test_vectors(form: Format) -> None:
    text, signature = VECTORS[form]
    meter = SimpleMeter(form=form)
    timestamp = meter.timestamp(NOW_MS)
    assert meter.wallet == WALLET
    assert public_of(meter.key) == KEY
    assert signed_message(form, "METER-001", timestamp, "1.500000", WALLET) == text.encode()
    assert meter.sign("1.500000", timestamp) == signature
    read = signature_bytes(signature)
    assert read is not None
    assert is_signed(text.encode(), read, public_key_bytes(KEY))


@pytest.mark.parametrize(
    ("form", "text", "secs"),
    [
        (Format.GRIDTOKENX, "2026-06-01T12:00:00Z", 1_780_315_200),
        (Format.GRIDTOKENX, "2026-06-01T12:00:00+00:00", 1_780_315_200),
        (Format.COLON, "1970-01-01T00:00:00Z", 0),
        (Format.DEVICE, "1780315200000", 1_780_315_200),
        (Format.DEVICE, "0000", None),
        (Format.DEVICE, "1000", 1),
        (Format.DEVICE, "1780315200001", None),
        (Format.DEVICE, "1780315200", None),
        (Format.DEVICE, "-1780315200000", None),
        (Format.DEVICE, "1780315200000.0", None),
        (Format.DEVICE, "1.780315200e12", None),
        (Format.DEVICE, "9" * 16 + "000", None),
        (Format.DEVICE, "2026-06-01T12:00:00Z", None),
        (Format.GRIDTOKENX, "1780315200000", None),
        (Format.GRIDTOKENX, "2026-06-01T12:00:00", None),
        (Format.GRIDTOKENX, "2026-06-01T12:00:00.0Z", None),
        (Format.GRIDTOKENX, "2026-06-01T12:00:00.000000+00:00", None),
        (Format.GRIDTOKENX, "2026-06-01T12:00:00-00:00", None),
        (Format.GRIDTOKENX, "2026-06-01T14:00:00+02:00", None),
        (Format.GRIDTOKENX, "2026-06-01 12:00:00Z", None),
        (Format.GRIDTOKENX, "2026-06-01t12:00:00z", None),
        (Format.GRIDTOKENX, "2026-06-01T12:00:60Z", None),
        (Format.GRIDTOKENX, "2026-02-30T12:00:00Z", None),
        (Format.GRIDTOKENX, "0000-01-01T00:00:00Z", None),
        (Format.GRIDTOKENX, "2026-06-01T12:00:00Z\n", None),
        (Format.GRIDTOKENX, "２０２６-06-01T12:00:00Z", None),
        (Format.GRIDTOKENX, "", None),
    ],
)
def test_timestamps(form: Format, text: str, secs: int | None) -> None:
    if secs is not None:
        assert timestamp_secs(form, text) == secs
        return
    with pytest.raises(TimestampInvalid):
        timestamp_secs(form, text)


def test_moments_outside_of_epoch_are_negative_not_wrong() -> None:
    assert moment_secs("1969-12-31T23:59:59Z") == -1


@pytest.mark.parametrize("form", Format)
def test_each_changed_byte_of_a_text_or_signature_breaks_it(form: Format) -> None:
    text, signature = VECTORS[form]
    key, read = public_key_bytes(KEY), signature_bytes(signature)
    assert read is not None
    message = text.encode()
    for place in range(len(message)):
        for bit in (0x01, 0x20, 0x80):
            assert not is_signed(_flipped(message, place, bit), read, key), place
    for place in range(len(read)):
        assert not is_signed(message, _flipped(read, place, 1), key), place
    for place in range(len(key)):
        assert not is_signed(message, read, _flipped(key, place, 1)), place


def _flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


FIELDS = {
    "kwh_amount": ErrorCode.SIGNATURE_INVALID,
    "reading_timestamp": ErrorCode.SIGNATURE_INVALID,
    "meter_signature": ErrorCode.SIGNATURE_INVALID,
    "meter_serial": ErrorCode.METER_UNKNOWN,
    "meter_id": ErrorCode.METER_UNKNOWN,
    "public_key": ErrorCode.KEY_INVALID,
    "wallet_address": ErrorCode.WALLET_DIFFERS,
}


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("field", FIELDS)
async def test_each_changed_character_of_a_body_is_refused_with_its_code(
    gateway: Gateway, form: Format, field: str
) -> None:
    meter = SimpleMeter(form=form)
    await gateway.register(meter)
    body = replace(
        meter.body(), meter_id=meter.serial, public_key=public_of(meter.key), wallet_address=meter.wallet
    )
    for changed in _changed(getattr(body, field)):
        with pytest.raises(MetawattError) as refused:
            await gateway.intake.submit(replace(body, **{field: changed}))
        assert refused.value.code is FIELDS[field], changed
    assert (await gateway.intake.submit(body)).is_new


def _changed(text: str) -> Iterator[str]:
    """With one character replaced, dropped or doubled, at each place."""
    for place, character in enumerate(text):
        other = "1" if character != "1" else "2"
        yield text[:place] + other + text[place + 1 :]
        if len(text) > 1:
            yield text[:place] + text[place + 1 :]
        yield text[:place] + 2 * character + text[place + 1 :]
    yield text + " "


async def test_the_very_text_counts_not_what_it_amounts_to(gateway: Gateway) -> None:
    meter = SimpleMeter()
    await gateway.register(meter)
    signed = meter.body(kwh="1.5")
    for other in ("1.50", "1.500000", "01.5"):
        with pytest.raises(MetawattError) as refused:
            await gateway.intake.submit(replace(signed, kwh_amount=other))
        assert refused.value.code is ErrorCode.SIGNATURE_INVALID
    with pytest.raises(MetawattError) as refused:
        await gateway.intake.submit(replace(signed, reading_timestamp="2026-06-01T12:00:00+00:00"))
    assert refused.value.code is ErrorCode.SIGNATURE_INVALID
    offset = "2026-06-01T12:00:00+00:00"
    written_so = ReadingBody("1.5", offset, meter.sign("1.5", offset), meter.serial)
    assert (await gateway.intake.submit(written_so)).document["timestamp"] == offset


@pytest.mark.parametrize("form", [Format.COLON, Format.DEVICE])
async def test_a_meter_id_of_its_own_is_what_is_signed(gateway: Gateway, form: Format) -> None:
    meter = SimpleMeter(form=form)
    await gateway.register(meter, meter_id="7c0f8e7e-6a55-4f0e-8b3c-2f6d7a1b9c01")
    named = SimpleMeter("7c0f8e7e-6a55-4f0e-8b3c-2f6d7a1b9c01", number=1, form=form)
    body = replace(named.body(), meter_serial="METER-001", meter_id=named.serial)
    taken = await gateway.intake.submit(body)
    assert (taken.document["meter"], taken.document["name"]) == ("METER-001", named.serial)
    with pytest.raises(MetawattError) as refused:
        await gateway.intake.submit(replace(body, meter_id="METER-001"))
    assert refused.value.code is ErrorCode.SIGNATURE_INVALID


async def test_a_reading_of_another_format_is_not_the_meters(gateway: Gateway) -> None:
    await gateway.register(SimpleMeter())
    for form in (Format.COLON, Format.DEVICE):
        with pytest.raises(MetawattError) as refused:
            await gateway.intake.submit(SimpleMeter(form=form).body())
        assert refused.value.code is ErrorCode.SIGNATURE_INVALID
