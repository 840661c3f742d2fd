import contextlib
import os
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.common.files import private_file, private_folder, write_atomically
from inference.common.places import Place, database, redis
from inference.log.decision_log import DecisionLog
from inference.log.rows import Correction
from inference.money.ledger import Ledger, LedgerDown
from inference.teachers.own import FunctionTeacher

WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
SECRET = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12)
SCHEME = st.sampled_from(["postgresql", "postgres", "postgresql+psycopg", "POSTGRESQL", "Postgres"])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder than the one a test begins in, which is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("name", ["spend.db", "a b/c.db", "../up.db", "50%.db", "user@host.db"])
def test_a_path_and_a_sqlite_url_name_the_same_absolute_file(name: str) -> None:
    file = Path(name).absolute()
    for given_ in (name, Path(name), f"sqlite:///{name}", f"SQLite:///{name}", f"sqlite:///{file}"):
        assert database(given_, "the log") == Place(str(file), str(file), file)


@given(SCHEME, WORD, SECRET, WORD, st.integers(1, 65535), WORD)
def test_a_postgresql_url_means_the_same_to_the_driver_and_shows_no_credentials(
    scheme: str, user: str, password: str, host: str, port: int, name: str
) -> None:
    place = database(f"{scheme}://{user}:{quote(password, safe='')}@{host}:{port}/{name}?sslmode=disable", "the log")
    assert place.name == f"postgresql://{host}:{port}/{name}"
    assert place.file is None
    assert conninfo_to_dict(place.url) == {
        "user": user, "password": password, "host": host, "port": str(port), "dbname": name, "sslmode": "disable",
    }  # fmt: skip


def complaint(read: Callable[[], Place]) -> str:
    """What is said where the place is refused, "" where it is not."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return ""


@given(st.sampled_from(["postgresql", "postgresql+psycopg", "redis", "sqlite", "mysql", "http", ""]), SECRET)
def test_an_unescaped_password_is_never_shown(scheme: str, password: str) -> None:
    secret = f"<{password}>"  # so that no message holds it by chance
    for url in (f"{scheme}://app:{secret}@host/db", f"{scheme}:/app:{secret}@host", f"redis:{secret}@host"):
        assert secret not in complaint(lambda url=url: database(url, "the log"))
        assert secret not in complaint(lambda url=url: redis(url))


@pytest.mark.parametrize("password", ["p@rt", "a/b", "1/2", "a?b", "1?2@x", "a#b", "a@b/c@d"])
def test_what_must_be_escaped_in_a_password_is_said(password: str) -> None:
    for url in (f"postgresql://app:{password}@host/db", f"redis://:{password}@host"):
        with pytest.raises(ValueError, match="write @ as %40") as caught:
            (redis if url.startswith("redis") else lambda given: database(given, "the log"))(url)
        assert password not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://app:s3cret@host/db",
        "postgresql:app:s3cret@host",
        Path("postgresql://app:s3cret@host/db"),
        Path("mysql://app:s3cret@host/db"),
        "sqlite://s3cret/db",
        "postgresql+asyncpg://app:s3cret@host/db",
        " postgresql://app:s3cret@host/db",
        "postgresql://app:s3cret",
    ],
)
def test_a_url_of_another_form_is_refused_without_repeating_it(url: str | Path) -> None:
    with pytest.raises(ValueError, match="the ledger must be a file, sqlite:///FILE or postgresql://USER") as caught:
        database(url, "the ledger")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ":memory:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "none", "None"])
def test_what_would_be_lost_with_the_process_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the ledger must be a file"):
        database(name, "the ledger")


@pytest.mark.parametrize("url", ["postgresql:///db", "postgresql://a,b:5433/db", "postgresql://[::1]:5432/db"])
def test_sockets_several_hosts_and_ipv6_are_understood(url: str) -> None:
    assert database(url, "the log") == Place(url, url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("REDIS://:secret@host:6379/3?protocol=3", "redis://host:6379/3"),
        ("rediss://user:secret@host", "rediss://host"),
        ("unix://user:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_a_redis_url_is_shown_without_credentials(url: str, name: str) -> None:
    assert redis(url).name == name
    assert "secret" not in repr(redis(url))


@pytest.mark.parametrize("url", ["", "host:6379", "http://host", "postgresql://host/db", "/run/redis.sock"])
def test_what_is_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the cache in Redis must be redis://HOST"):
        redis(url)


def test_places_are_read_without_a_database_library() -> None:
    code = "import sys, inference.common.places\nassert not {'sqlalchemy', 'psycopg', 'redis'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_driver_in_the_url_still_means_the_ledger_is_in_postgresql(elsewhere: Path) -> None:
    ledger = Ledger("postgresql+psycopg://app:S3CRET@127.0.0.1:9/db", 1.0)
    with pytest.raises(LedgerDown, match=r"ledger postgresql://127\.0\.0\.1:9/db cannot be reached") as caught:
        ledger.reserve(5)
    assert "S3CRET" not in str(caught.value)
    assert list(elsewhere.parent.iterdir()) == [elsewhere]


def test_nothing_moves_when_the_process_changes_its_folder(elsewhere: Path) -> None:
    settings = {"log": "log.db", "ledger": "sqlite:///money/spend.db", "deadline_s": 30.0}
    taxonomy = Taxonomy.of(["payments", "account"])
    cascade = Cascade.load(
        "model", FunctionTeacher(lambda text: "payments", taxonomy, usd=0.001), taxonomy=taxonomy, **settings
    )
    spill = DecisionLog("other.db", spill="spilled")
    os.chdir(elsewhere)
    with cascade, contextlib.closing(spill):
        assert cascade.classify("where does this go?").source == "teacher"
        assert cascade._watch.path == elsewhere.parent / "model"
        spill.put(Correction("id", 1.0, "text", "payments"))
    assert list(elsewhere.iterdir()) == []
    assert [row.text for row in DecisionLog("../log.db").read_answers()] == ["where does this go?"]
    assert (elsewhere.parent / "money" / "spend.db").is_file()
    assert (elsewhere.parent / "other.db").is_file()


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): f"{path.stat().st_mode & 0o777:o}" for path in sorted(folder.rglob("*"))}


@pytest.mark.usefixtures("usual_umask")
def test_what_holds_texts_or_money_is_for_its_owner_alone(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.db", spill=tmp_path / "spill")
    log.keep(Correction("id", 1.0, "text", "payments")).result(10)
    ledger = Ledger(tmp_path / "spend.db")
    ledger.reserve(1)
    found = modes(tmp_path)
    assert {"decisions.db", "spend.db"} <= found.keys()
    assert set(found.values()) == {"600"}
    log.close()
    ledger.close()
    with contextlib.closing(DecisionLog(tmp_path, spill=tmp_path / "spill")) as full:  # a folder is no database
        full.keep(Correction("id", 1.0, "text", "payments")).result(10)
        found = modes(tmp_path)
        assert found.pop("spill") == "700"
        assert set(found.values()) == {"600"}
        assert any(name.startswith("spill/") for name in found)


@pytest.mark.usefixtures("usual_umask")
def test_files_and_folders_that_exist_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    private_folder(tmp_path / "folder")
    private_file(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    write_atomically(tmp_path / "file", b"new", private=True)
    write_atomically(tmp_path / "public", b"new")
    write_atomically(tmp_path / "private", b"new", private=True)
    private_file(tmp_path / "new" / "file")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    private_file(tmp_path / "link")
    assert modes(tmp_path) == {
        "folder": "755", "file": "644", "public": "644", "private": "600", "new": "755", "new/file": "600",
        "link": "600", "target": "600",
    }  # fmt: skip
