"""Logs on standard error: JSON lines for machines or text for people, one set-up for the node and its libraries.

Values under secret-looking keys are masked, and so are passwords and keys in URLs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.settings import LogSettings

MASK = "[redacted]"
_SECRET_KEY = re.compile(
    r"(^|[_-])(secret|password|passwd|passphrase|api_?key|private_?key|admin_token|callback_token|bearer"
    r"|authorization|cookie|seed|mnemonic)($|[_-])",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_URL_KEY = re.compile(r"([?&](?:api[-_]?key|key|token|access[-_]?token|secret|auth)=)[^&#\s]+", re.IGNORECASE)
_URL_PATH = re.compile(r"(://[^/?#\s]+/)[^?#\s]+")
_DEEPEST = 6


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set structlog and the standard library's logging up; may be called again with other settings."""
    stream = sys.stderr if stream is None else stream
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared = _shared_processors()
    renderer = _renderers(settings, stream)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.captureWarnings(True)


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        redact,
    ]


def _renderers(settings: LogSettings, stream: TextIO) -> list[Processor]:
    if settings.format == "text":
        return [_in_one_line, structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")]
    return [
        structlog.processors.dict_tracebacks,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _in_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Texts with what is not printable escaped: whoever writes one cannot begin a line, or speak to a terminal."""
    return {name: _printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _to_json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def mask_url(text: str) -> str:
    """The text, with the password of every URL in it masked, and the keys in its query."""
    if "://" not in text:
        return text
    return _URL_KEY.sub(rf"\1{MASK}", _URL_PASSWORD.sub(rf"\1:{MASK}@", text))


def mask_path(url: str) -> str:
    """A URL without its path, which is where those who rent servers out put keys."""
    return _URL_PATH.sub(rf"\1{MASK}", mask_url(url))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: masks secrets, also inside nested mappings and lists."""
    return {key: _masked(key, value, _DEEPEST) for key, value in event.items()}


def _masked(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and _SECRET_KEY.search(key) and value is not None:
        return MASK
    if isinstance(value, str):
        return mask_url(value)
    if depth and isinstance(value, Mapping):
        return {inner: _masked(inner, item, depth - 1) for inner, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_masked(None, item, depth - 1) for item in value]
    return value
