"""The main token of the pages by its digest, and the key of forms."""

from datetime import timedelta

from storage.audit.records import AuditEntry, AuditKind
from storage.hosts.web_tokens import RecordedToken
from storage.store import Store
from tests.tools.clock import Clock


def test_the_first_token_is_kept_until_it_is_replaced(store: Store, clock: Clock) -> None:
    begin = clock.now
    assert store.web_tokens.find("token") is None
    assert store.web_tokens.adopt("token", "a") == RecordedToken("a", begin)
    clock.advance(5)
    assert store.web_tokens.adopt("token", "b") == RecordedToken("a", begin)

    store.web_tokens.replace("token", "c", AuditEntry(AuditKind.TOKEN_CHANGED, actor="web"))

    assert store.web_tokens.find("token") == RecordedToken("c", begin + timedelta(seconds=5))
    assert [row.kind for row in store.audit.rows()] == [AuditKind.TOKEN_CHANGED]


def test_every_host_has_the_same_key_of_forms(database_url: str, store: Store) -> None:
    key = store.web_tokens.form_key()
    assert len(key) == 32
    with Store.open(database_url, migrate=False) as other:
        assert other.web_tokens.form_key() == key
