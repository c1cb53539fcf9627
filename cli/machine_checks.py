"""The doctor's checks of the machine: the native module, the data folder, secrets, the address to listen on."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from importlib import import_module
from pathlib import Path

from cli.finding import Finding, broken, ok, warning
from config.errors import MetawattError
from config.secrets import admin_token_path, exposure, node_key_hex, node_key_path
from config.settings import Settings

_LEAST_FREE_BYTES = 256 * 1024**2
_COMFORTABLE_FREE_BYTES = 2 * 1024**3
_MIB = 1024**2


def check_native_module() -> Finding:
    """Whether bsv-sdk's curve and script machine can be loaded; without them nothing runs."""
    try:
        sdk = import_module("overlay.sdk")
    except MetawattError as error:
        return broken("native module", error.message, "Install from requirements.lock on a supported platform.")
    return ok("native module", f"bsv-sdk {sdk.SDK_VERSION}")


def check_data_folder(settings: Settings) -> Finding:
    """Whether the data folder can be written, and has room."""
    folder = settings.node.data_dir.absolute()
    existing = _nearest_existing(folder)
    if not existing.is_dir():
        return broken("data folder", f"{existing} is no folder", "Choose another with --data-dir.")
    if not os.access(existing, os.W_OK | os.X_OK):
        cure = f"Let this user write there: chown {os.getuid()} {existing}; or choose another with --data-dir."
        return broken("data folder", f"{existing} cannot be written", cure)
    free = shutil.disk_usage(existing).free
    seen = f"{folder}, {free // _MIB} MiB free"
    if free < _LEAST_FREE_BYTES:
        return broken("data folder", seen, "Make room: a database that cannot grow stops admission.")
    if free < _COMFORTABLE_FREE_BYTES:
        return warning("data folder", seen, "Plan for more room: about 1 GiB for a million certificates.")
    return ok("data folder", seen + ("" if folder.is_dir() else "; made at first start"))


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_node_key(settings: Settings) -> Finding:
    """Whether the node's key is there, well-formed, and its owner's alone."""
    path = node_key_path(settings)
    if not path.exists() and settings.node.private_key_file is None:
        return ok("node key", f"{path} is made at first start")
    try:
        node_key_hex(settings)
    except MetawattError as error:
        cure = "Put 64 hex digits into the file that node.private_key_file names, with mode 0600."
        return broken("node key", error.message, cure)
    return ok("node key", str(path))


def check_admin_token(settings: Settings) -> Finding:
    """Whether the admin token is nobody else's to read."""
    path = admin_token_path(settings)
    if settings.node.admin_token is not None:
        return ok("admin token", "set by node.admin_token")
    if not path.exists():
        return ok("admin token", f"{path} is made at first start")
    if fault := exposure(path):
        return broken("admin token", fault, f"Run: chmod 600 {path}; then remove it, so that a new one is made.")
    return ok("admin token", str(path))


def check_address(settings: Settings) -> Finding:
    """Whether the address can be listened on; a node that runs already holds it."""
    host, port = settings.node.host, settings.node.port
    seen = f"{host}:{port}"
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(info[0], info[1]) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(info[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return warning(
                "address", f"{seen} is taken", "Fine if the node is running, else choose another --port."
            )
        return broken("address", f"{seen}: {error.strerror}", "Choose another --host or --port.")
    return ok("address", f"{seen} is free")
