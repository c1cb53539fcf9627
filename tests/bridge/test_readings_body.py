"""What a meter sends is read to the character."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.meters.body import MEASURED, ReadingBody, read_list, read_reading, read_short_reading
from config.errors import ErrorCode, MetawattError
from energytag.models.common import InvalidFields


def reading(kwh: str = '"1.5"', timestamp: str = '"t"', more: str = "") -> bytes:
    return f'{{"kwh_amount": {kwh}, "reading_timestamp": {timestamp}{more}}}'.encode()


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ('"1.500000"', "1.500000"),
        ("1.500000", "1.500000"),
        ("1.50", "1.50"),
        ("1e2", "1e2"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("100", "100"),
        ("-0", "-0"),
        ('"\\u0031.5"', "1.5"),
        ('""', ""),
    ],
)
def test_a_number_is_the_text_that_it_is_written_as(literal: str, text: str) -> None:
    assert read_reading(reading(literal)).kwh_amount == text
    assert read_reading(reading(timestamp=literal)).reading_timestamp == text


@pytest.mark.parametrize("literal", ["null", "true", "[1]", '{"a":1}', '"' + "1" * 200 + '"', "1" * 41])
def test_what_is_no_number_or_text_is_refused(literal: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        read_reading(reading(literal))
    assert refused.value.detail[0]["loc"] == ["body", "kwh_amount"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"kwh_amount": 01, "reading_timestamp": "t"}',
        b'{"kwh_amount": NaN, "reading_timestamp": "t"}',
        b'{"kwh_amount": "\\ud800", "reading_timestamp": "t"}',
        b"{} {}",
        reading(more=', "x": ' + "[" * 8_000 + "]" * 8_000),
        reading(more=', "power": ' + '{"a":' * 2_500 + "1" + "}" * 2_500),
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(MetawattError) as refused:
        read_reading(body)
    assert refused.value.code in (ErrorCode.BAD_JSON, ErrorCode.INVALID_FIELD)


@pytest.mark.parametrize("name", ["kwh_amount", "reading_timestamp"])
def test_what_is_missing_is_named(name: str) -> None:
    other = {"kwh_amount": "reading_timestamp", "reading_timestamp": "kwh_amount"}[name]
    with pytest.raises(InvalidFields, match=name):
        read_reading(f'{{"{other}": "1"}}'.encode())


@pytest.mark.parametrize("name", ["meter_serial", "meter_id", "meter_signature", "public_key", "wallet_address"])
@pytest.mark.parametrize("value", ["7", '""', "[]", '"' + "x" * 129 + '"'])
def test_texts_are_bounded(name: str, value: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        read_reading(reading(more=f', "{name}": {value}'))
    assert refused.value.detail[0]["loc"] == ["body", name]


def test_what_else_is_sent_is_kept_as_it_came() -> None:
    more = ', "voltage": 230.10, "current": "4.20", "power": null, "zone_id": "z", "colour": {"a": []}'
    read = read_reading(reading(more=more))
    assert read.measured == {"voltage": "230.10", "current": "4.20", "zone_id": "z"}


@pytest.mark.parametrize("name", MEASURED)
def test_numbers_beside_are_bounded(name: str) -> None:
    with pytest.raises(InvalidFields, match=name):
        read_reading(reading(more=f', "{name}": [1]'))
    with pytest.raises(InvalidFields, match=name):
        read_reading(reading(more=f', "{name}": {"1" * 100}'))


def test_the_short_shape() -> None:
    read = read_short_reading(b'{"kwh": 1.5, "timestamp": "t", "signature": "s", "voltage": 1}', "M-1")
    assert read == ReadingBody("1.5", "t", "s", "M-1", measured={"voltage": "1"})
    named = read_short_reading(b'{"kwh": 1.5, "timestamp": "t", "meter_signature": "s", "meter_serial": "M-1"}')
    assert named == ReadingBody("1.5", "t", "s", "M-1")
    with pytest.raises(InvalidFields, match="meter_serial"):
        read_short_reading(b'{"kwh": 1.5, "timestamp": "t", "meter_serial": "M-2"}', "M-1")


@pytest.mark.parametrize("body", [b"[1, 2]", b'{"readings": [1, 2]}'])
def test_a_batch_is_a_list_or_readings(body: bytes) -> None:
    assert [bytes(each) for each in read_list(body, 2)] == [b"1", b"2"]


@pytest.mark.parametrize("body", [b"[]", b"[1,2,3]", b"7", b"{}", b'{"readings": 1}'])
def test_a_batch_is_bounded(body: bytes) -> None:
    with pytest.raises(InvalidFields):
        read_list(body, 2)


def test_messages_are_bounded(caplog: Any) -> None:
    with pytest.raises(MetawattError) as refused:
        read_reading(b'{"' + b"x" * 10_000)
    assert len(refused.value.message) <= 400


@pytest.mark.parametrize("around", ["{}", '{{"readings": {}}}', '[{{"x": {}}}]'])
def test_a_batch_of_brackets_is_refused(around: str) -> None:
    with pytest.raises(MetawattError) as refused:
        read_list(around.format("[" * 100_000 + "]" * 100_000).encode(), 500)
    assert refused.value.code is ErrorCode.BAD_JSON
