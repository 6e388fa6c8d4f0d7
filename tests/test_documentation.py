"""The pages match the code, and the prose of the code follows the house style."""

import ast
import io
import json
import re
import tokenize
from functools import cache
from pathlib import Path

import typer.main

from daemon.cli.main import app
from daemon.config.loading import load_config
from dicom_io.gate.reasons import Reason
from tests.pages.messages import collected, normal

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cxr_model", "daemon", "dicom_io", "storage")
RIDDLE = re.compile(r"(What|Whether|Who|How|Those)\b")
VAGUE = re.compile(r"\b(nobody|nothing|others|whoever|somebody)\b", re.IGNORECASE)
README = (ROOT / "README.md").read_text(encoding="utf-8")

TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGE_ROW = re.compile(r"^\| (`.*`) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)

PASSED_ON = {
    "cxr_model/files: named",
    "cxr_model/predict: predict_inputs",
    "daemon/cli: _echo",
    "daemon/cli: _run",
    "daemon/cli: serve",
    "daemon/commitment: _record_sent",
    "daemon/config: load_config",
    "daemon/config: read_yaml",
    "daemon/deliver: _check_files",
    "daemon/hl7: __enter__",
    "daemon/hl7: _wait",
    "daemon/preflight: _answer",
    "daemon/preflight: _check_port",
    "daemon/preflight: _guarded",
    "daemon/preflight: _hosts_that_are_alike",
    "daemon/preflight: _require_free",
    "daemon/preflight: check_archive",
    "daemon/preflight: check_certificates",
    "daemon/preflight: check_hosts",
    "daemon/preflight: check_roles",
    "daemon/preflight: check_worklist",
    "daemon/preflight: check_routes",
    "daemon/supervise: _await_ready",
    "daemon/supervise: _warn_of_hosts",
    "daemon/supervise: _watch_all",
    "daemon/supervise: requeue_in_time",
    "daemon/web: listening_socket",
    "daemon/web: require_private",
    "dicom_io/peer: examine",
    "dicom_io/receive: start",
    "storage/files: _marker_errors",
    "storage/files: _require_writable",
}
"""The functions that only repeat the text of another error, or values: its text is collected."""


def commands() -> list[str]:
    group = typer.main.get_command(app)
    names = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names += [f"{name} {sub}" for sub in inner] if inner else [name]
    return names


def test_every_command_is_in_the_readme() -> None:
    rows = re.findall(r"^\| `cxrd ([^|]*)\|", README, re.MULTILINE)
    documented = set()
    for row in rows:
        first, *more = re.findall(
            r"[a-z]+(?:-[a-z]+)*", row.replace("PATH… --out DIR", "").split("--")[0]
        )
        documented |= {f"{first} {sub}" for sub in more} or {first}
    assert documented == set(commands())


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z-]+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_reasons_named_in_the_readme_exist() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", README))
    assert named
    assert named <= set(Reason)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page as GitHub makes them of its headings."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_links_lead_to_existing_files_and_headings() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_pictures_are_shown_and_small() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name})" in text, picture.name
        assert picture.stat().st_size <= 300_000, picture.name


def test_pages_named_in_the_code_exist() -> None:
    for path in (*product_files(), ROOT / "config.yaml"):
        for name in re.findall(r"\bdocs/[\w-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path.relative_to(ROOT)}: {name}"


def test_the_page_for_radiologists_has_the_figures_of_the_card() -> None:
    card = json.loads((ROOT / "cxr_model" / "starter" / "card.json").read_text(encoding="utf-8"))
    unseen = card["metrics"]["held_out"]
    false_calls, labels = unseen["false_calls"], unseen["labels"]
    rate, (low, high) = (false_calls[f"per_film_without_findings{end}"] for end in ("", "_95"))
    auc = {name: figures["auc"] for name, figures in labels.items()}
    best, worst = max(auc, key=auc.__getitem__), min(auc, key=auc.__getitem__)
    page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    for figures in (
        f"{unseen['images']} films of {unseen['patients']} patients",
        f"{rate:.2f} on average (95 %: {low:.2f} to {high:.2f})",
        f"{false_calls['share_of_films_with_a_call']:.0%} of these".replace("%", " %"),
        "{:.2f} ({:.2f} to {:.2f})".format(unseen["mean_auc"], *unseen["mean_auc_95"]),
        f"{best} {auc[best]:.2f}; {worst} {auc[worst]:.2f}",
        f"Absent | {100 * (1 - labels['Effusion']['sensitivity']):.0f} of 100",
        f"vanish | {100 * card['metrics']['stability']['half_size']['share']:.0f} of 100",
    ):
        assert figures in page
    for name in labels:
        assert name.replace("_", " ") in page


def test_examples_of_peers_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == page.count("```yaml") > 3
    for example in examples:
        path = tmp_path / "config.yaml"
        path.write_text(example, encoding="utf-8")
        assert load_config(path).peers


def test_architecture_stays_one_page() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 120


@cache
def prose(path: Path) -> tuple[list[str], list[str]]:
    """Return the docstrings and the comments of a Python file."""
    source = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, documented))
    docstrings = [docstring for node in nodes if (docstring := ast.get_docstring(node))]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return docstrings, [token.string for token in tokens if token.type == tokenize.COMMENT]


def product_files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_docstrings_start_with_a_verb_or_a_noun() -> None:
    riddles = [
        f"{path.relative_to(ROOT)}: {docstring.splitlines()[0]}"
        for path in product_files()
        for docstring in prose(path)[0]
        if RIDDLE.match(docstring)
    ]
    assert riddles == []


def test_docstrings_and_comments_name_the_actor() -> None:
    words, vague = 0, []
    for path in product_files():
        docstrings, comments = prose(path)
        for text in (*docstrings, *comments):
            words += len(text.split())
            vague += [f"{path.relative_to(ROOT)}: {word}" for word in VAGUE.findall(text)]
    assert words
    assert 1000 * len(vague) < words, f"{len(vague)} in {words} words: {vague}"


def message_rows() -> list[tuple[str, str, str]]:
    return MESSAGE_ROW.findall(TROUBLESHOOTING.partition("## Messages\n")[2])


def documented_messages() -> list[str]:
    return [normal(each) for cell, *_ in message_rows() for each in re.findall(r"`([^`]+)`", cell)]


def test_each_message_of_check_and_serve_is_in_the_page() -> None:
    known = set(documented_messages())
    missing = sorted(
        f"{each.place}: {each.text}" for each in collected().messages if each.text not in known
    )
    assert not missing, "\n".join(["no row of docs/troubleshooting.md has:", *missing])


def test_each_message_of_the_page_is_in_the_source() -> None:
    made = {message.text for message in collected().messages}
    stale = [text for text in documented_messages() if text not in made]
    assert not stale, "\n".join(["the source has no longer, correct their rows:", *stale])


def test_no_message_is_in_two_rows() -> None:
    texts = documented_messages()
    assert sorted(text for text in set(texts) if texts.count(text) > 1) == []


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    table_lines = re.findall(r"^\| `", TROUBLESHOOTING.partition("## Messages\n")[2], re.MULTILINE)
    assert len(message_rows()) == len(table_lines) > 100
    for cell, meaning, action in message_rows():
        assert len(meaning.split()) >= 3, cell
        assert len(action.split()) >= 2, cell


def test_no_other_function_hides_its_message() -> None:
    """A message that is built elsewhere is collected only if MAKERS names the function."""
    differing = sorted(collected().passed_on ^ PASSED_ON)
    assert not differing, "\n".join(["name the maker of the text in MAKERS, or list:", *differing])


def test_collector_finds_a_new_message() -> None:
    texts = {message.text for message in collected().messages}
    assert "the store … is damaged (…): …" in texts
    assert "calling AE title is not a known sender" in texts
    assert "unknown key …" in texts
    assert len(texts) > 300
