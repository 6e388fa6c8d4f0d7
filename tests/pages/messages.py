"""The messages that `cxrd check` and `cxrd serve` can show, collected from the source."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

from tests.tools.paths import ROOT

VALUE = "…"
"""Stands for a value in a message."""
_FORMAT = re.compile(r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_LOG_LINE = re.compile(r"log(ger)?\.[a-z]+\(")
_LOGGER = re.compile(r"(^|_|\.)log(ger)?$")
_ERROR = re.compile(r"\w+(Error|Stopped)")
_SAYING = frozenset({"typer.echo", "say", "self._say"})
_LEVELS = frozenset({"warning", "error", "critical", "exception", "log"})
_WORDS = 2
"""The least words of a message."""
_WORDS_OF_A_PART = 3
"""The least words and values of a part of a message that a function of MAKERS makes."""

RAISING = (
    "daemon/analyse/reader/decoder_pool.py",
    "daemon/analyse/reader/shared_pages.py",
    "daemon/analyst.py",
    "daemon/audit/syslog.py",
    "daemon/cli/serve.py",
    "daemon/commitment",
    "daemon/config",
    "daemon/courier.py",
    "daemon/hl7/charsets.py",
    "daemon/hl7/client.py",
    "daemon/hl7/framing.py",
    "daemon/hl7/oru.py",
    "daemon/listener.py",
    "daemon/preflight",
    "daemon/receive",
    "daemon/supervise",
    "daemon/web/access/token_file.py",
    "daemon/web/address.py",
    "daemon/web/server.py",
    "daemon/worker",
    "storage/files/durable.py",
    "storage/files/folder_spool.py",
    "storage/files/places.py",
    "storage/files/s3",
    "storage/store.py",
    "storage/tables",
    "storage/upkeep/binding.py",
    "storage/upkeep/integrity.py",
    "dicom_io/commitment/scu.py",
    "dicom_io/dicomweb/dicom_json.py",
    "dicom_io/http/client.py",
    "dicom_io/peer",
    "dicom_io/receive/node.py",
    "dicom_io/send",
    "cxr_model/engine",
    "cxr_model/files/bundle_files.py",
    "cxr_model/files/card_values.py",
    "cxr_model/files/regular_file.py",
    "cxr_model/files/tensor_file.py",
    "cxr_model/files/weights.py",
    "cxr_model/predict/bundle.py",
    "cxr_model/predict/card.py",
    "cxr_model/predict/predictor.py",
)
"""The files and rooms whose errors `cxrd check` prints, or with which `cxrd serve` ends."""

LOGGING = (
    "daemon",
    "storage",
    "dicom_io",
    "cxr_model/engine",
    "cxr_model/predict",
    "cxr_model/files",
)
"""The rooms that log while `cxrd serve` runs."""
NOT_SERVING = ("daemon/batch", "daemon/cli/", "daemon/demo.py")
"""The rooms among LOGGING that only other commands use; `serve` itself is in SPOKEN."""
SPOKEN = ("daemon/cli/serve.py", "daemon/supervise")
"""The files in which a line of level INFO counts, too: they say that the daemon starts or ends."""

MAKERS = {
    "cxrd": ("conflict", "_shadowed", "_shared", "_OWN_ENVIRONMENT"),
    "daemon/config": (
        "_KEYS",
        "_PLAIN",
        "_syntax",
        "_undecided",
        "explain",
        "nearest",
        "readable_by_others",
        "remaining",
        "source_of_caller",
    ),
    "daemon/cli": ("main", "check"),
    "daemon/deliver/channels/dicom.py": ("probe",),
    "daemon/deliver/channels/dicomweb.py": ("probe", "_without_search"),
    "daemon/deliver/channels/fhir.py": ("_probed", "_problem"),
    "daemon/deliver/channels/hl7.py": ("probe", "send", "_failed", "_sent"),
    "daemon/hl7/client.py": ("_send", "_answer"),
    "daemon/hl7/server.py": ("Refused",),
    "daemon/hosts": ("clock_fault", "settings_apart"),
    "daemon/supervise": ("reason_of_end", "_watch"),
    "daemon/worker": ("exit_reason",),
    "dicom_io/dicomweb": (
        "_MEANINGS",
        "_TOKEN_STATUSES",
        "_refusal",
        "_refused_object",
        "_store",
    ),
    "dicom_io/peer": (
        "TlsFault",
        "_ALERT_HINTS",
        "_ANOTHER_PORT",
        "_HIGH_PORT",
        "_VERIFY_HINTS",
        "_load_problem",
        "_verification",
        "date_problem",
        "listen_problem",
        "probe",
        "problem_of",
    ),
    "dicom_io/receive": ("RejectReason", "AbortReason"),
    "dicom_io/send": (
        "_diagnose",
        "_failure",
        "_refusal",
        "_rejected",
        "_store",
        "_unencodable",
    ),
    "storage/files": ("storage_error", "_REMEDIES"),
    "storage/tables": ("_storage_error", "_UNCLEAR"),
}
"""The functions, classes and constants whose every text is a message or a part of one."""


@dataclass(frozen=True)
class Message:
    """A message with VALUE for each value, and the place that makes it."""

    text: str
    place: str


@dataclass
class Found:
    """The messages of the source, and the places whose message is not written there."""

    messages: set[Message] = field(default_factory=set)
    passed_on: set[str] = field(default_factory=set)

    def add(self, texts: Iterable[str], place: str) -> None:
        """Keep the messages among the texts; note the place if there is none."""
        cleaned = [normal(text) for text in texts]
        kept = [text for text in cleaned if is_message(text)]
        self.messages |= {Message(text, place) for text in kept}
        if not kept:
            self.passed_on.add(place)


def normal(text: str) -> str:
    """Return a text on one line, without backticks, with one VALUE for each run of values."""
    one_line = " ".join(text.replace("`", "").split())
    return re.sub(rf"{VALUE}(\s*{VALUE})+", VALUE, one_line).strip(" ;,")


def is_message(text: str, words: int = _WORDS) -> bool:
    """Return True for a text that says more than its values."""
    found = re.findall(rf"[A-Za-z][a-z]+|{VALUE}", text)
    return len(found) >= words and len(found) - found.count(VALUE) >= _WORDS


@cache
def collected() -> Found:
    """Return the messages of the whole source."""
    found = Found()
    for path in _files(RAISING):
        _collect_errors(path, found)
    for path in _files(LOGGING):
        name = str(path.relative_to(ROOT))
        if name in SPOKEN or name.startswith(SPOKEN) or not name.startswith(NOT_SERVING):
            _collect_lines(path, found)
    for room, makers in MAKERS.items():
        _collect_made(room, makers, found)
    return found


def _files(names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        path = ROOT / name
        assert path.exists(), f"{name} is gone: correct the lists of {__name__}"
        yield from sorted(path.rglob("*.py")) if path.is_dir() else (path,)


def _collect_errors(path: Path, found: Found) -> None:
    for function, node in _calls(path):
        place = _place(path, function)
        if isinstance(node, ast.Raise):
            call = node.exc
            if isinstance(call, ast.Call) and _is_own_error(call, path):
                found.add(_arguments(call, path, function), place)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CheckResult":
            found.add(_texts(node.args[2], path, function), place)


def _is_own_error(call: ast.Call, path: Path) -> bool:
    """Return True for an error whose text the operator sees; a ValueError only in the settings."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name == "ValueError":
        return path.is_relative_to(ROOT / "daemon" / "config")
    own = name not in {"OSError", "TypeError", "KeyError", "FileExistsError", "EOFError"}
    return own and (name == "error" or _ERROR.fullmatch(name) is not None or name[0] == "_")


def _collect_lines(path: Path, found: Found) -> None:
    """Collect the log lines of level WARNING and above, in SPOKEN also those of level INFO."""
    is_spoken = str(path.relative_to(ROOT)).startswith(SPOKEN)
    if not is_spoken and not _LOG_LINE.search(path.read_text(encoding="utf-8")):
        return
    levels = _LEVELS | ({"info"} if is_spoken else set())
    for function, node in _calls(path):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = ast.unparse(node.func)
        owner, _, level = name.rpartition(".")
        if level in levels and _LOGGER.search(owner):
            text = node.args[1 if level == "log" else 0]
            lines = _texts(text, path, function)
            found.add([_FORMAT.sub(VALUE, line) for line in lines], _place(path, function))
        elif is_spoken and name in _SAYING:
            found.add(_texts(node.args[0], path, function), _place(path, function))


def _collect_made(room: str, makers: Iterable[str], found: Found) -> None:
    """Collect each text in the named functions, classes and constants of a room."""
    nodes = [
        (name, path, node)
        for path in _files([room])
        for node in ast.walk(_tree(path))
        for name in _names(node)
        if name in makers
    ]
    absent = set(makers) - {name for name, _, _ in nodes}
    assert not absent, f"{room} has no {', '.join(sorted(absent))}: correct MAKERS"
    for maker, path, made in nodes:
        docstrings = {id(child.value) for child in ast.walk(made) if isinstance(child, ast.Expr)}
        inner = {
            id(part)
            for child in ast.walk(made)
            if isinstance(child, ast.JoinedStr)
            for part in child.values
        }
        place = f"{room}: {maker}"
        for child in ast.walk(made):
            if not isinstance(child, ast.JoinedStr | ast.Constant):
                continue
            if id(child) not in docstrings | inner:
                text = normal("".join(_texts(child, path, None)))
                if is_message(text, _WORDS_OF_A_PART):
                    found.messages.add(Message(text, place))


def _place(path: Path, function: ast.FunctionDef | None) -> str:
    """Return the room and the function, without the file: files are moved and divided."""
    room = path.relative_to(ROOT).parts[:2]
    return f"{'/'.join(room)}: {function.name if function else 'module'}"


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (each.id for each in node.targets if isinstance(each, ast.Name))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _calls(path: Path) -> Iterator[tuple[ast.FunctionDef | None, ast.AST]]:
    """Yield each node of a file with the innermost function around it."""

    waiting: list[tuple[ast.FunctionDef | None, ast.AST]] = [(None, _tree(path))]
    while waiting:
        function, node = waiting.pop()
        yield function, node
        inner = node if isinstance(node, ast.FunctionDef) else function
        waiting += [(inner, child) for child in ast.iter_child_nodes(node)]


def _arguments(call: ast.Call, path: Path, function: ast.FunctionDef | None) -> list[str]:
    """Return the texts of an error; those of a helper that makes it, and its arguments."""
    texts = [text for each in call.args for text in _texts(each, path, function)]
    made = _function(ast.unparse(call.func), path)
    return texts + (_returned(made, path) if made else [])


def _function(name: str, path: Path) -> ast.FunctionDef | None:
    """Return a function of the same file by its name."""
    return _functions(path).get(name.removeprefix("self."))


@cache
def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef)}


def _returned(function: ast.FunctionDef, path: Path) -> list[str]:
    returns = (node.value for node in ast.walk(function) if isinstance(node, ast.Return))
    return [
        text
        for value in returns
        if value is not None
        for part in (value.args if isinstance(value, ast.Call) else [value])
        for text in _texts(part, path, function)
    ]


def _texts(node: ast.expr, path: Path, function: ast.FunctionDef | None) -> list[str]:
    """Return the texts that an expression may have, with VALUE for what is not written there."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(_part(part) for part in parts)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            pairs = product(_texts(left, path, function), _texts(right, path, function))
            return ["".join(pair) for pair in pairs]
        case ast.IfExp(body=body, orelse=other):
            return _texts(body, path, function) + _texts(other, path, function)
        case ast.BoolOp(values=values):
            return [text for value in values for text in _texts(value, path, function)]
        case ast.Name(id=name):
            return _assigned(name, path, function) or [VALUE]
        case ast.Call(func=ast.Name(id=name)) if _function(name, path):
            made = _function(name, path)
            return _returned(made, path) if made and made is not function else [VALUE]
    return [VALUE]


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else VALUE


def _targets(node: ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr) -> set[str]:
    """Return the names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {each.id for each in targets if isinstance(each, ast.Name)}


def _assigned(name: str, path: Path, function: ast.FunctionDef | None) -> list[str]:
    """Return the texts that a function, or else the file, assigns to a name."""
    for scope in (function, _tree(path)):
        if scope is None:
            continue
        values = [
            node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr)
            and name in _targets(node)
        ]
        found = [text for value in values if value for text in _texts(value, path, function)]
        if found:
            return found
    return []
