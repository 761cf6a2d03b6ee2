"""URLs of databases: which are valid, where they point, when TLS is required, and that no error shows a password."""

import pytest

from service.errors import DatabaseUnusableError
from service.settings import Settings
from service.storage.addresses import Address, Candidate, location
from service.storage.database import Database
from service.storage.migrations import operator_engine

SECRET = "S3cr"


@pytest.fixture(autouse=True)
def no_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGSSLMODE", "PGPORT", "PGTARGETSESSIONATTRS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://user:secret@db.example:6432/funds", "db.example:6432"),
        ("postgresql+asyncpg://user:secret@db.example/funds", "db.example"),
        ("postgresql://user@/funds?host=/run/postgresql&port=5432", "/run/postgresql"),
        ("postgresql://user@%2Frun%2Fpostgresql/funds", "/run/postgresql"),
        ("postgresql://user:secret@one:5432,two:5433/funds?target_session_attrs=any", "one:5432, two:5433"),
        (
            "postgresql:///funds?host=one,two&port=6432&user=u&password=secret&target_session_attrs=primary",
            "one:6432, two:6432",
        ),
        ("postgresql://user:se:cret@[2001:db8::1]:5432/funds", "[2001:db8::1]:5432"),
        ("postgresql://user:s%2Fe%40c%3Are%25t%3F%23@db.example/funds", "db.example"),
        ("postgresql:///funds", "localhost"),
        ("postgresql://user:secret@db.example:port/funds", "the given URL"),
    ],
)
def test_a_database_is_named_without_user_and_password(url: str, where: str) -> None:
    assert location(url) == where


@pytest.mark.parametrize(
    "sign", ["/", "?", "#", "@", "%", "[", "]", "/@", "1/", "1?", "1#", "1@", "1%", " ", "\n", "é", "／"]
)
@pytest.mark.parametrize(
    "form", ["postgresql://u:{}@db.example/funds", "postgresql://u:{}@db.example:5432,two/funds?a=b"]
)
def test_a_password_with_a_sign_that_parts_urls_is_refused_and_not_repeated(form: str, sign: str) -> None:
    for password in (f"{SECRET}{sign}{SECRET}", f"{sign}{SECRET}", f"1{sign}{SECRET}", f"{SECRET}{sign}1"):
        url = form.format(password)
        for use in (Address.of, operator_engine, lambda url: Database.connect(url, Settings())):
            with pytest.raises(DatabaseUnusableError) as caught:
                use(url)
            assert SECRET not in str(caught.value)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
        assert location(url) == "the given URL"


@pytest.mark.parametrize(
    "url",
    [
        "",
        SECRET,
        f"postgresql:{SECRET}",
        f"postgresql://{SECRET}:x/funds",
        f"postgresql://u:{SECRET}",
        f"postgresql://u@host/funds?password={SECRET}&{SECRET}",
        f"postgresql://u@host/funds?password={SECRET}&password={SECRET}",
        f"postgresql://u@/funds?host=a,,b&password={SECRET}",
        f"postgresql://u@/funds?host=a&port={SECRET}",
        f"postgresql://u:{SECRET}@[::1/funds",
        f"postgresql://u:{SECRET}@a,,b/funds",
        f"postgresql://u:{SECRET}@a,b/funds",
        f"postgresql://u:{SECRET}@a,b/funds?target_session_attrs={SECRET}",
        f"postgresql://u:{SECRET}@/funds?host=a,b&port=1,2,3&target_session_attrs=any",
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence_of_ours(url: str) -> None:
    with pytest.raises(DatabaseUnusableError) as caught:
        Address.of(url)
    assert SECRET not in str(caught.value)


def test_no_address_shows_its_password() -> None:
    assert SECRET not in repr(Address.of(f"postgresql://u:{SECRET}@host/funds"))


@pytest.mark.parametrize(
    ("url", "added", "required"),
    [
        ("postgresql://u@db.example/funds", "require", True),
        ("postgresql://u@192.0.2.1/funds", "require", True),
        ("postgresql://u@[2001:db8::1]/funds", "require", True),
        ("postgresql:///funds?host=db.example", "require", True),
        ("postgresql:///funds?service=bank", "require", True),
        ("postgresql://u@127.0.0.1.example/funds", "require", True),
        ("postgresql://u@db.example/funds?sslmode=", "require", True),
        ("postgresql://u@db.example/funds?sslmode=disable", None, False),
        ("postgresql://u@db.example/funds?sslmode=prefer", None, False),
        ("postgresql://u@db.example/funds?sslmode=verify-full", None, True),
        ("postgresql://u@localhost/funds?sslmode=require", None, True),
        ("postgresql:///funds", None, False),
        ("postgresql:///funds?host=/run/postgresql", None, False),
        ("postgresql://u@%2Frun%2Fpostgresql/funds", None, False),
        ("postgresql://u@localhost/funds", None, False),
        ("postgresql://u@127.9.9.9:5432/funds", None, False),
        ("postgresql://u@[::1]/funds", None, False),
        ("postgresql://u@[::ffff:127.0.0.1]/funds", None, False),
    ],
)
def test_tls_is_required_of_other_hosts_unless_the_url_says_otherwise(
    url: str, added: str | None, *, required: bool
) -> None:
    [candidate] = Address.of(url).candidates
    assert (candidate.tls_added, candidate.tls_required) == (added, required)


def test_tls_is_required_of_each_host_by_itself() -> None:
    here, there = Address.of("postgresql://u@localhost,db.example/funds?target_session_attrs=read-write").candidates
    assert (here.tls_added, there.tls_added) == (None, "require")
    assert (here.tls_required, there.tls_required) == (False, True)


@pytest.mark.parametrize(
    ("hosts", "servers"),
    [
        ("@one:5433,two/funds?", [("one", 5433), ("two", 5432)]),
        ("@[2001:db8::1]:5433,%2Frun%2Fpostgresql/funds?", [("2001:db8::1", 5433), ("/run/postgresql", 5432)]),
        ("@/funds?host=one,two&port=6432&", [("one", 6432), ("two", 6432)]),
        ("@/funds?host=one,two&port=6432,6433&", [("one", 6432), ("two", 6433)]),
        ("@one,two/funds?port=6432&", [("one", 5432), ("two", 5432)]),
    ],
)
def test_several_servers_are_tried_in_the_order_of_the_url(hosts: str, servers: list[tuple[str, int]]) -> None:
    address = Address.of(f"postgresql://u{hosts}target_session_attrs=read-write")
    assert [(candidate.host, candidate.port) for candidate in address.candidates] == servers
    assert address.target == "read-write"


def test_which_of_several_servers_is_meant_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any of them, as libpq would take, may be a replica, to which every write fails."""
    with pytest.raises(DatabaseUnusableError, match="target_session_attrs=read-write"):
        Address.of("postgresql://u@one,two/funds")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "primary")
    assert Address.of("postgresql://u@one,two/funds").target == "primary"
    assert Address.of("postgresql://u@one/funds").target == "primary"


def test_the_variables_of_libpq_count_where_the_url_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def only(url: str) -> Candidate:
        [candidate] = Address.of(url).candidates
        return candidate

    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGPORT", "6432")
    assert only("postgresql:///funds").tls_added == "require"
    assert only("postgresql://localhost/funds").tls_added is None
    assert (only("postgresql:///funds").port, only("postgresql://localhost:5433/funds").port) == (6432, 5433)
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert only("postgresql:///funds").tls_added is None
    assert not only("postgresql://db.example/funds").tls_required
