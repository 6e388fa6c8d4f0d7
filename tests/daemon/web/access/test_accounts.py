"""Accounts: the command that hashes a password, the login, and its limits."""

import asyncio
import io
import threading
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from daemon.audit.logins import LoginOutcome
from daemon.cli import web as web_commands
from daemon.config.sections.web import AccountConfig, WebConfig
from daemon.errors import UsageError
from daemon.web.access import passwords
from daemon.web.access.passwords import CHECKS_AT_ONCE, CHECKS_WAITING, Accounts, weak_hashes
from daemon.web.access.roles import Role
from daemon.web.access.throttle import (
    FAILURE_SECONDS,
    FAILURES,
    PAUSE_SECONDS,
    PasswordThrottle,
)
from daemon.web.problems import BusyError
from storage.store import Store
from tests.daemon.web.access.asgi import House, Reply, house_of
from tests.daemon.web.access.logins import BROWSER, PASSWORD, quick_hash
from tests.tools.cli import cxrd, one_line_of_error
from tests.tools.clock import Clock
from tests.tools.waiting import wait_until

SECRET = "hunter2-hunter2-hunter2"  # noqa: S105 - typed into the wrong field


def account(name: str, role: str, hashed: str = "") -> AccountConfig:
    values = {"name": name, "role": role, "password_hash": hashed or quick_hash()}
    return AccountConfig.model_validate(values)


@pytest.fixture
def house(shared_folder: Path, shared_store: Store) -> House:
    accounts = [account("ines", "operator"), account("Jürgen Groß", "viewer")]
    return house_of(shared_folder, shared_store, accounts=accounts)


def log_in(house: House, name: str, password: str = PASSWORD, client: str = "10.0.0.1") -> Reply:
    fields = {"name": name, "password": password}
    return house.post("/login", fields, headers=BROWSER, client=client)


@pytest.mark.parametrize(("name", "role"), [("ines", "operator"), ("Jürgen Groß", "viewer")])
def test_account_opens_a_session_in_its_name(house: House, name: str, role: str) -> None:
    answer = log_in(house, name)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    page = house.ask("/", headers={**answer.session, **BROWSER})
    assert f"{name} · {role}" in page.text
    assert house.reported == [("10.0.0.1", LoginOutcome.ACCEPTED, name)]


def test_password_may_be_typed_in_either_form_of_its_letters(
    shared_folder: Path, shared_store: Store
) -> None:
    hashed = quick_hash("Würzburg-Röntgen")
    house = house_of(shared_folder, shared_store, accounts=[account("ines", "viewer", hashed)])
    assert log_in(house, "ines", "Wu\u0308rzburg-Ro\u0308ntgen").status == 303


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ines", "wrong"),
        ("ines", ""),
        ("ines", "x" * 2000),
        ("ines", "\ud800".encode("utf-8", "replace").decode()),
        ("INES", PASSWORD),
        ("", PASSWORD),
        ("nobody", PASSWORD),
        (SECRET, "wrong"),
        ("ines\r\nSet-Cookie: a=b", PASSWORD),
    ],
)
def test_anything_else_is_refused_alike(house: House, name: str, password: str) -> None:
    answer = log_in(house, name, password)
    assert answer.status == 401
    assert "Name and password do not fit." in answer.text
    assert "set-cookie" not in answer.headers
    assert SECRET not in answer.text
    known = name if name == "ines" else ""
    assert house.reported == [("10.0.0.1", LoginOutcome.REFUSED, known)]


def test_an_unknown_name_costs_the_check_of_a_hash(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    fits = passwords._fits

    def counted(found: AccountConfig, password: str) -> bool:
        checked.append(found.name)
        return fits(found, password)

    monkeypatch.setattr(passwords, "_fits", counted)
    for name in ("nobody", "nobody", "ines"):
        assert log_in(house, name, "wrong").status == 401
    first, second, known = checked
    assert first == second
    assert known == "ines"
    assert log_in(house, "nobody").status == 401


def test_login_page_has_the_forms_that_can_work(
    house: House, shared_folder: Path, shared_store: Store
) -> None:
    page = house.ask("/", headers=BROWSER)
    assert page.status == 401
    for field in ("name", "password", "token"):
        assert f'name="{field}"' in page.text
    plain = house_of(shared_folder, shared_store).ask("/login", headers=BROWSER)
    assert plain.status == 200
    assert 'name="password"' not in plain.text


def test_a_login_ends_the_session_before_it(house: House) -> None:
    first = log_in(house, "ines")
    planted = {**BROWSER, **first.session}
    fields = {"name": "Jürgen Groß", "password": PASSWORD}
    second = house.post("/login", fields, headers=planted)
    assert second.status == 303
    assert second.session != first.session
    assert house.ask("/", headers=first.session).status == 401
    assert house.ask("/", headers=second.session).status == 200


def test_tries_from_a_client_are_limited(house: House) -> None:
    for _ in range(FAILURES):
        assert log_in(house, "ines", "wrong").status == 401
    answer = log_in(house, "ines")
    assert answer.status == 429
    assert answer.headers["retry-after"] == f"{FAILURE_SECONDS:.0f}"
    assert f"try again in {FAILURE_SECONDS:.0f} s" in answer.text
    assert log_in(house, "Jürgen Groß").status == 429
    assert log_in(house, "ines", client="10.0.0.2").status == 429  # an attacked account: a pause
    assert log_in(house, "Jürgen Groß", client="10.0.0.2").status == 303
    house.clock.advance(FAILURE_SECONDS)
    assert log_in(house, "ines").status == 303


def test_right_token_works_while_passwords_are_throttled(house: House) -> None:
    for _ in range(FAILURES + 1):
        log_in(house, "ines", "wrong")
    headers = house.bearer(Role.ADMIN)
    assert house.ask("/metrics", headers=headers, client="10.0.0.1").status == 200
    token = {"token": headers["Authorization"].split()[1]}
    assert house.post("/login", token, client="10.0.0.1").status == 303


def test_owner_of_an_attacked_account_gets_in_after_a_short_wait(house: House) -> None:
    """The attacker goes on from many addresses, as fast as the limits allow."""

    def attack() -> None:
        for number in range(5):
            log_in(house, "ines", "wrong", client=f"203.0.113.{number}")

    for _ in range(10):
        attack()
    answer = log_in(house, "ines", client="10.0.0.1")
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) <= PAUSE_SECONDS
    attack()
    house.clock.advance(PAUSE_SECONDS)
    attack()
    assert log_in(house, "ines", client="10.0.0.1").status == 303


def test_attacker_gets_few_tries_at_an_account() -> None:
    clock = Clock()
    throttle = PasswordThrottle(clock.seconds)
    tries = 0
    for second in range(600):
        tries += sum(not throttle.admit("ines", "203.0.113.9") for _ in range(20))
        clock.advance(1)
        assert second or tries == FAILURES
    assert tries == 10 * FAILURES


def test_right_passwords_are_not_failures() -> None:
    throttle = PasswordThrottle(Clock().seconds)
    for _ in range(5 * FAILURES):
        assert throttle.admit("ines", "10.0.0.1") == 0
        throttle.take_back("ines", "10.0.0.1")


def test_tries_in_work_count_as_failures() -> None:
    throttle = PasswordThrottle(Clock().seconds)
    admitted = [throttle.admit("ines", "10.0.0.1") == 0 for _ in range(3 * FAILURES)]
    assert admitted == [True] * FAILURES + [False] * 2 * FAILURES


def test_names_that_were_tried_are_not_kept() -> None:
    clock = Clock()
    throttle = PasswordThrottle(clock.seconds)
    throttle.admit(SECRET, "10.0.0.1")
    assert SECRET not in repr(vars(throttle))
    clock.advance(2 * FAILURE_SECONDS)
    throttle.admit("other", "10.0.0.1")
    assert len(throttle._accounts) == 1


def test_few_checks_run_and_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    proceed = threading.Event()

    def slow(_account: AccountConfig, _password: str) -> bool:
        running.append(1)
        assert proceed.wait(10)
        return True

    monkeypatch.setattr(passwords, "_fits", slow)
    accounts = Accounts([account("ines", "viewer")])

    async def flood() -> list[object]:
        most = CHECKS_AT_ONCE + CHECKS_WAITING
        waiting = [asyncio.create_task(accounts.check("ines", "x")) for _ in range(most)]
        await asyncio.to_thread(wait_until, lambda: len(running) == CHECKS_AT_ONCE, "they run")
        with pytest.raises(BusyError, match="Too many logins at once"):
            await accounts.check("ines", "x")
        assert len(running) == CHECKS_AT_ONCE
        proceed.set()
        return list(await asyncio.gather(*waiting))

    assert all(asyncio.run(flood()))
    assert asyncio.run(accounts.check("ines", "x")) is not None


def test_a_busy_node_answers_503_and_counts_no_failure(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "CHECKS_WAITING", -CHECKS_AT_ONCE)
    for _ in range(2 * FAILURES):
        answer = log_in(house, "ines")
        assert answer.status == 503
        assert "try again in a few seconds" in answer.text
    monkeypatch.undo()
    assert log_in(house, "ines").status == 303


def test_command_prints_a_hash_that_the_configuration_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    done = cxrd("web", "hash-password", cwd=tmp_path)
    hashed = done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, "")
    assert PasswordHasher().verify(hashed, PASSWORD)
    made = account("ines", "viewer", hashed)
    assert weak_hashes([made]) == []
    assert weak_hashes([made, account("otto", "viewer")]) == ["otto"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("short", "at least 12 characters"),
        ("", "at least 12 characters"),
        ("x" * 1025, "at most 1024 bytes"),
        ("an old\tpassword", "no control character"),
        ("a first password\na second one", "stdin must hold one line"),
    ],
)
def test_unsuitable_password_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    line = one_line_of_error(cxrd("web", "hash-password", cwd=tmp_path))
    assert message in line
    assert not given or given not in line


def test_password_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([PASSWORD, PASSWORD, PASSWORD, "another"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    assert web_commands._asked() == PASSWORD
    with pytest.raises(UsageError, match="the two passwords differ"):
        web_commands._asked()


def test_web_section_without_accounts_costs_nothing() -> None:
    accounts = Accounts(WebConfig().accounts)
    assert not accounts
    assert asyncio.run(accounts.check("ines", PASSWORD)) is None
