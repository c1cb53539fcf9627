"""Logs: their two forms, their level, and what they hide."""

import io
import json
import logging

import pytest
import structlog

from config.logging import MASK, configure_logging
from config.settings import LogSettings


def logged(settings: LogSettings, write) -> str:
    stream = io.StringIO()
    configure_logging(settings, stream)
    write(structlog.get_logger())
    return stream.getvalue()


def json_line(write, **settings) -> dict:
    (line,) = logged(LogSettings(format="json", **settings), write).splitlines()
    return json.loads(line)


def test_json_lines_have_time_level_event_and_fields():
    line = json_line(lambda log: log.info("admitted", topic="tm_x", txid=b"\x01\x02"))
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {"level": "info", "event": "admitted", "topic": "tm_x", "txid": "0102"}


def test_context_is_in_every_line():
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        assert json_line(lambda log: log.info("x"))["request_id"] == "r1"


def test_text_is_for_people():
    text = logged(LogSettings(format="text"), lambda log: log.warning("slow", secs=3))
    assert "slow" in text
    assert "secs=3" in text


def test_what_strangers_write_forges_no_line_and_moves_no_cursor():
    forged = "a\n2026-01-01 [error] stolen\x1b[2J\u2028\x85\u202e\r"
    text = logged(LogSettings(), lambda log: log.warning(f"refused {forged}", reason=forged, short="b\x1b[2J"))
    (line,) = text.splitlines()
    assert line.isprintable()


def test_text_in_any_language_is_written_as_it_is():
    assert "Zähler 电表" in logged(LogSettings(), lambda log: log.info("met", reason="Zähler 电表"))


def test_an_exception_in_text_has_its_lines():
    def fail(log):
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("failed")

    assert len(logged(LogSettings(), fail).splitlines()) > 3


def test_a_lower_level_is_not_written():
    assert logged(LogSettings(level="warning"), lambda log: log.info("x")) == ""


def test_an_exception_is_one_json_line():
    def write(log):
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("failed")

    assert json_line(write)["exception"][0]["exc_value"] == "broken"


def test_libraries_log_through_the_same_door():
    line = json_line(lambda _: logging.getLogger("aiohttp.server").error("bad %s", "request"))
    assert (line["event"], line["level"], line["logger"]) == ("bad request", "error", "aiohttp.server")


@pytest.mark.parametrize(
    "key", ["password", "api_key", "arc_api_key", "admin_token", "Authorization", "private_key", "client_secret"]
)
def test_secrets_are_masked_at_any_depth(key):
    line = json_line(lambda log: log.info("x", **{key: "s3cret"}, deep={"list": [{key: "s3cret"}]}))
    assert line[key] == MASK
    assert line["deep"]["list"][0][key] == MASK


def test_passwords_in_urls_are_masked():
    line = json_line(lambda log: log.info("x", uri="mongodb://user:s3cret@db:27017/n"))
    assert line["uri"] == f"mongodb://user:{MASK}@db:27017/n"


@pytest.mark.parametrize("name", ["api-key", "apikey", "API_KEY", "key", "token", "access_token", "secret", "auth"])
def test_keys_in_the_query_of_urls_are_masked(name):
    line = json_line(lambda log: log.info("x", uri=f"https://rpc.example/v2?a=1&{name}=s3cret&b=2"))
    assert line["uri"] == f"https://rpc.example/v2?a=1&{name}={MASK}&b=2"


def test_what_is_no_key_stays_in_the_query():
    uri = "mongodb://db/n?authSource=admin&retryWrites=true"
    assert json_line(lambda log: log.info("x", uri=uri))["uri"] == uri


def test_the_fields_own_tokens_are_no_secrets():
    assert json_line(lambda log: log.info("x", token="certificate", tokens=3))["token"] == "certificate"
