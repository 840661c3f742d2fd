import pytest

from inference.service.session import LASTS_S, Sessions, is_page


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
