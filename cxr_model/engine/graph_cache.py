"""Keeps built graphs in the user's cache folder, and verifies each before its use.

The cache only saves time: a graph that is missing, damaged or not private is built in memory.
"""

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path

from cxr_model.engine.graph import GRAPH_VERSION, build_graph
from cxr_model.errors import EngineError
from cxr_model.files.regular_file import MB, read_regular
from cxr_model.predict.bundle import Bundle

logger = logging.getLogger(__name__)

#: A DenseNet-121 has 28 MB in float32, and the shift of its largest input 268 MB more.
LARGEST_GRAPH = 384 * MB
#: Graphs that the folder keeps; those used last stay.
MOST_GRAPHS = 4

_SUFFIX = ".graph"
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path | None:
    """Return ``cxrd`` in XDG_CACHE_HOME or ~/.cache; None for a user without a home folder.

    XDG Base Directory Specification: a relative XDG_CACHE_HOME is ignored.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():
        return Path(named) / "cxrd"
    try:
        return Path.home() / ".cache" / "cxrd"
    except RuntimeError:
        return None


def cached_graph(bundle: Bundle, folder: Path | None) -> bytes:
    """Return the graph of `bundle` from `folder`, or build it and keep it there.

    `folder` None keeps nothing. A folder that cannot be used is a line of the log.
    """
    if folder is None:
        return build_graph(bundle)
    path = folder / f"{_key(bundle)}{_SUFFIX}"
    try:
        _make_private(folder)
        if path.exists():
            return _verified(path)
    except (OSError, EngineError) as error:
        logger.info("the cached graph is not used: %s", error)
    graph = build_graph(bundle)
    try:
        _make_private(folder)
        _write(path, graph)
        _remove_old(folder)
    except (OSError, EngineError) as error:
        logger.info("the graph is not cached: %s", error)
    return graph


def _key(bundle: Bundle) -> str:
    parts = (GRAPH_VERSION, bundle.sha256, bundle.blocks, bundle.card.input)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _make_private(folder: Path) -> None:
    """Make the folder. Raises EngineError if another user could put a graph there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineError(f"{folder} can be written by another user")


def _verified(path: Path) -> bytes:
    # Another user may have put it there while the folder was open to others, or be able to rename
    # a folder above.
    if path.lstat().st_uid != os.geteuid():
        raise EngineError(f"{path} belongs to another user")
    content = read_regular(path, LARGEST_GRAPH, EngineError)
    digest, graph = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(graph).digest() != digest:
        raise EngineError(f"{path} is damaged")
    # The time of the last use decides which graphs are kept.
    os.utime(path)
    return graph


def _write(path: Path, graph: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(graph).digest())
            file.write(graph)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_old(folder: Path) -> None:
    graphs = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for path in graphs[:-MOST_GRAPHS]:
        path.unlink(missing_ok=True)
