"""The closed list of codes: each has a status, and each is documented as it is."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from api.errors import STATUS, error_reply, unexpected_reply
from config.errors import BadRequest, Busy, ErrorCode, MetawattError, NotFound, Unauthorized, Unavailable

PAGE = Path(__file__).parents[2] / "docs" / "ERRORS.md"
ROW = re.compile(r"^\| `(ERR_\w+)` \| (\d{3}) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def documented() -> dict[str, int]:
    rows = ROW.findall(PAGE.read_text("utf-8"))
    assert len(rows) == len({code for code, *_ in rows}), "a code is documented twice"
    return {code: int(status) for code, status, _when, _what in rows}


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode)


def test_the_page_documents_every_code_with_its_status_and_no_other() -> None:
    assert documented() == {code.value: status for code, status in STATUS.items()}


def test_the_page_mentions_no_other_code() -> None:
    assert set(re.findall(r"ERR_[A-Z_]+", PAGE.read_text("utf-8"))) == {code.value for code in ErrorCode}


@pytest.mark.parametrize("code", ErrorCode)
def test_a_reply_has_the_codes_status_and_shape(code: ErrorCode) -> None:
    response = error_reply(MetawattError("why", code))
    body = orjson.loads(response.body)
    assert response.status == STATUS[code]
    assert body["status"] == "error"
    assert body["code"] == code
    assert body["description" if code is ErrorCode.ROUTE_NOT_FOUND else "message"] == "why"
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Busy("x", retry_after_secs=0.2), "1"),
        (Busy("x", retry_after_secs=7.1), "8"),
        (Unavailable("x"), "5"),
        (Unavailable("x", ErrorCode.STARTING), "5"),
    ],
)
def test_retry_after_is_whole_seconds_and_never_none(error: MetawattError, expected: str) -> None:
    assert error_reply(error).headers["Retry-After"] == expected


def test_an_unknown_route_has_exactly_the_reference_shape() -> None:
    response = error_reply(NotFound("Route not found.", ErrorCode.ROUTE_NOT_FOUND))
    assert orjson.loads(response.body) == {
        "status": "error",
        "code": "ERR_ROUTE_NOT_FOUND",
        "description": "Route not found.",
    }


def test_401_says_how_to_authenticate() -> None:
    assert error_reply(Unauthorized("x")).headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("code", [ErrorCode.BODY_TOO_LARGE, ErrorCode.BODY_TIMEOUT])
def test_a_connection_whose_body_was_not_read_is_not_used_again(code: ErrorCode) -> None:
    assert error_reply(BadRequest("x", code)).keep_alive is False


def test_a_fault_tells_nothing_but_the_request_id() -> None:
    response = unexpected_reply("abc-1")
    assert response.status == 500
    assert orjson.loads(response.body) == {
        "status": "error",
        "message": "Unexpected error",
        "code": "ERR_INTERNAL",
        "requestId": "abc-1",
    }
