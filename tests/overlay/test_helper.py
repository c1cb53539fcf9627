"""A helper answers those who asked, is started anew when it has ended, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from overlay.frames import framed
from overlay.helper import Helper
from tests.processes import helpers, kill_helpers

MODULE = "tests.overlay.echoing"


@pytest.fixture
async def helper() -> AsyncIterator[Helper]:
    made = Helper(MODULE, "word ", greeting=b"hail")
    yield made
    await made.stop()
    assert not helpers(MODULE)


@pytest.mark.parametrize("request_", [b"", b"x", bytes(range(256)) * 4096])
async def test_a_request_has_its_reply(helper: Helper, request_: bytes) -> None:
    assert await helper.ask(request_) == b"word hail" + request_


async def test_one_process_answers_all(helper: Helper) -> None:
    assert not helpers(MODULE)
    await helper.ask(b"first")
    first = helpers(MODULE)
    assert await helper.ask(b"second") == b"word hailsecond"
    assert len(first) == 1
    assert helpers(MODULE) == first


async def test_one_that_was_killed_is_replaced_and_greeted_again(helper: Helper) -> None:
    await helper.ask(b"first")
    killed = kill_helpers(MODULE)
    assert await helper.ask(b"second") == b"word hailsecond"
    assert len(killed) == 1
    assert not {*killed} & {*helpers(MODULE)}


async def test_a_request_that_ends_two_of_them_is_given_up(helper: Helper) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await helper.ask(b"leave")
    assert not helpers(MODULE)
    assert await helper.ask(b"next") == b"word hailnext"


async def test_a_request_that_is_given_up_does_not_answer_the_next(helper: Helper) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await helper.ask(b"sleep")
    assert not helpers(MODULE)
    assert await helper.ask(b"next") == b"word hailnext"


async def test_one_that_cannot_be_started_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        await Helper(MODULE, "word ").ask(b"")


async def test_stopping_what_does_not_run_is_no_matter(helper: Helper) -> None:
    await helper.stop()
    await helper.ask(b"first")
    await helper.stop()
    await helper.stop()


@pytest.mark.parametrize(
    ("left", "replies"),
    [(b"", b""), (b"\x05\x00", b""), (framed(b"whole"), framed(b"word hailwhole"))],
)
def test_a_helper_ends_when_its_pipe_does(left: bytes, replies: bytes) -> None:
    command = [sys.executable, "-m", MODULE, "word "]
    done = subprocess.run(command, input=b"hail" + left, stdout=subprocess.PIPE, check=True, timeout=60)
    assert done.stdout == replies
