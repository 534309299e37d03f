from __future__ import annotations

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.store import Role


def test_a_secret_opens_its_token_and_nothing_else_does(store):
    token, secret = store.tokens.create("anna", Role.ANNOTATOR)
    assert store.tokens.verify(secret) == token
    assert secret.startswith("nna_")
    for wrong in (
        "",
        "nna",
        secret[:-1],
        secret + "x",
        secret.upper(),
        f"nna_{token.id}_",
        "nna__",
        "\udc80",
    ):
        assert store.tokens.verify(wrong) is None


def test_secrets_of_different_tokens_cannot_be_mixed(store):
    (_, one), (_, two) = store.tokens.create("anna", Role.ADMIN), store.tokens.create("ben", Role.VIEWER)
    prefix, first, _ = one.split("_", 2)
    assert store.tokens.verify("_".join([prefix, first, two.split("_", 2)[2]])) is None


def test_no_secret_is_in_the_files(store, root):
    secrets = [store.tokens.create(f"person {i}", Role.VIEWER)[1] for i in range(5)]
    store.tokens.verify(secrets[0])
    store.database.close()
    content = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"person 4" in content
    for secret in secrets:
        assert secret.encode() not in content
        assert secret.split("_", 2)[2].encode() not in content


def test_no_listing_shows_a_secret(store):
    token, secret = store.tokens.create("anna", Role.VIEWER)
    assert store.tokens.list() == (token,)
    tail = secret.split("_", 2)[2]
    assert tail not in repr(token)
    assert all(tail not in str(event.payload) for event in store.events.after(0))


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_revoked_token_is_refused_at_once_and_for_good(store, by):
    token, secret = store.tokens.create("Anna", Role.REVIEWER)
    revoked = store.tokens.revoke(token.id if by == "id" else "anna")
    assert revoked.id == token.id
    assert revoked.revoked is not None
    assert store.tokens.verify(secret) is None
    new, _ = store.tokens.create("Anna", Role.REVIEWER)
    assert [t.id for t in store.tokens.list()] == [token.id, new.id]
    assert store.tokens.verify(secret) is None


def test_two_valid_tokens_never_share_a_name(store):
    token, _ = store.tokens.create("Anna", Role.VIEWER)
    with pytest.raises(Conflict, match="in use") as caught:
        store.tokens.create("anna", Role.ADMIN)
    assert caught.value.current == token


def test_an_unknown_token_cannot_be_revoked(store):
    with pytest.raises(NotFound, match="nobody"):
        store.tokens.revoke("nobody")


@pytest.mark.parametrize("name", ["", " ", " anna", "a\nb", "x" * 201, "a\x00b"])
def test_unusable_names_are_refused(store, name):
    with pytest.raises(InvalidInput, match="token name"):
        store.tokens.create(name, Role.VIEWER)


def test_each_role_covers_itself_and_those_before_it():
    order = [Role.VIEWER, Role.ANNOTATOR, Role.REVIEWER, Role.ADMIN]
    for i, role in enumerate(order):
        assert [role.covers(other) for other in order] == [j <= i for j in range(4)]
