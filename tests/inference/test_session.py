import pytest

from inference.service.session import LASTS_S, Sessions, is_page
from inference.service.settings import page_secret


def cookie(sessions: Sessions, session: str) -> dict[bytes, bytes]:
    return {b"cookie": f"{sessions.cookie}={session}".encode()}


def test_a_session_is_known_to_every_worker_with_the_secret_and_to_no_other() -> None:
    one, other, stranger = Sessions("secret"), Sessions("secret"), Sessions("another")
    session = one.begin()
    assert other.of(cookie(other, session)) == session
    assert stranger.of(cookie(stranger, session)) is None
    assert one.fits(session, other.form_token(session))
    assert not one.fits(session, stranger.form_token(session))
    assert not one.fits(None, one.form_token(session))


def test_replicas_with_one_token_know_each_others_sessions_and_so_does_the_next_start() -> None:
    token = "a-token-of-the-tests"
    one, replica, other = Sessions(page_secret(token)), Sessions(page_secret(token)), Sessions(page_secret(token + "2"))
    session = one.begin()
    assert replica.of(cookie(replica, session)) == session
    assert replica.fits(session, one.form_token(session))
    assert other.of(cookie(other, session)) is None
    assert token not in page_secret(token)
    assert page_secret(None) != page_secret(None)


@pytest.mark.parametrize("others", ['{"a": [1]}', "a b c", '"', "é", "=;;=", "x" * 3000])
def test_a_session_is_known_beside_the_cookies_of_others(others: str) -> None:
    sessions = Sessions("secret")
    session = sessions.begin()
    mine = f"{sessions.cookie}={session}"
    for jar in (f"theirs={others}; {mine}", f"{mine}; theirs={others}", f"{sessions.cookie}={others}; {mine}"):
        assert sessions.of({b"cookie": jar.encode()}) == session


def test_a_session_ends() -> None:
    now = 1000.0
    sessions = Sessions("secret", lambda: now)
    session = sessions.begin()
    now += LASTS_S - 1
    assert sessions.of(cookie(sessions, session)) == session
    now += 2
    assert sessions.of(cookie(sessions, session)) is None


@pytest.mark.parametrize("given", ["", "x", "a.b.c", "..", "é", 'a"b', "\u2028", "0" * 5000])
def test_a_cookie_that_was_not_given_here_is_no_session(given: str) -> None:
    sessions = Sessions("secret")
    assert sessions.of(cookie(sessions, given)) is None
    assert sessions.of({b"cookie": given.encode()}) is None


def test_a_session_cannot_be_made_longer() -> None:
    sessions = Sessions("secret")
    name, until, signed = sessions.begin().split(".")
    assert sessions.of(cookie(sessions, f"{name}.{int(until) + 1}.{signed}")) is None


def test_the_page_is_what_lies_below_its_path() -> None:
    assert [is_page(path) for path in ("/page", "/page/x", "/pages", "/", "/classify")] == [
        True,
        True,
        False,
        False,
        False,
    ]
