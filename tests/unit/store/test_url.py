"""Every form of a connection string is understood, and none of its password is ever shown."""

from __future__ import annotations

import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import psycopg2 as dialect
from sqlalchemy.engine import URL, make_url

from dray.store.errors import DatabaseURLInvalid
from dray.store.url import DRIVER, DatabaseURL

of = DatabaseURL.of


def parts(url: DatabaseURL) -> tuple[object, ...]:
    return url.user, url.password, url.host, url.port, url.database


def libpq(url: DatabaseURL) -> dict[str, object]:
    """What psycopg2 is really called with."""
    return dict(dialect.dialect().create_connect_args(url.url)[1])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "text",
    [
        "postgres://u:p@h:5433/d",
        "postgresql://u:p@h:5433/d",
        "postgresql+psycopg://u:p@h:5433/d",
        "postgresql+psycopg2://u:p@h:5433/d",
        "postgresql+asyncpg://u:p@h:5433/d",
        "POSTGRES://u:p@h:5433/d",
        "  postgres://u:p@h:5433/d\n",
        '"postgres://u:p@h:5433/d"',
        "'postgres://u:p@h:5433/d'",
        "postgres://u:p@h:5433/d?",
        "postgres://h:5433/d?user=u&password=p",
        "postgres:///?host=h&port=5433&user=u&password=p&dbname=d",
        "host=h port=5433 user=u password=p dbname=d",
        " host = 'h' port=5433 user=u password='p' dbname=d",
    ],
)
def test_every_form_means_the_same(text: str) -> None:
    url = of(text)
    assert parts(url) == ("u", "p", "h", 5433, "d")
    assert url.url.drivername == DRIVER
    assert url.safe == "u@h:5433/d"
    assert libpq(url) == {"user": "u", "password": "p", "host": "h", "port": 5433, "dbname": "d"}


@pytest.mark.parametrize(
    ("text", "host", "port", "safe"),
    [
        ("postgres://u:p@10.1.2.3/d", "10.1.2.3", 5432, "u@10.1.2.3:5432/d"),
        ("postgres://u:p@[2001:db8::1]/d", "2001:db8::1", 5432, "u@[2001:db8::1]:5432/d"),
        ("postgres://u:p@[2001:db8::1]:6000/d", "2001:db8::1", 6000, "u@[2001:db8::1]:6000/d"),
        ("postgres://u:p@[fe80::1%25eth0]/d", "fe80::1%eth0", 5432, "u@[fe80::1%eth0]:5432/d"),
        ("postgres://u@/d?host=/var/run/pg", "/var/run/pg", 5432, "u@/var/run/pg:5432/d"),
        ("postgres://u@:5433/d?host=/var/run/pg", "/var/run/pg", 5433, "u@/var/run/pg:5433/d"),
        ("postgres://u@%2Fvar%2Frun%2Fpg:5433/d", "/var/run/pg", 5433, "u@/var/run/pg:5433/d"),
        ("host=/var/run/pg user=u dbname=d", "/var/run/pg", 5432, "u@/var/run/pg:5432/d"),
        ("postgres://u@h", "h", 5432, "u@h:5432/u"),
        ("postgres://localhost", "localhost", 5432, "(default)@localhost:5432/(default)"),
        ("postgres:///d", None, 5432, "(default)@(default):5432/d"),
    ],
)
def test_hosts(text: str, host: str | None, port: int, safe: str) -> None:
    url = of(text)
    assert (url.host, url.port, url.safe, str(url), repr(url)) == (host, port, safe, safe, f"DatabaseURL({safe!r})")
    assert libpq(url).get("host") == host


@pytest.mark.parametrize(
    "password",
    [
        "p@ss",
        "a:b",
        "a/b",
        "a#b",
        "a?b",
        "100%",
        "%",
        "a b",
        "ä€😀",
        "[x]",
        "@",
        "@@/:",
        "1234/5?x#y@z",
        "a'\"\\b",
        "%zz",
        "a@b%40",
    ],
)
def test_a_password_pasted_as_it_is(password: str) -> None:
    url = of(f"postgresql://postgres.abc:{password}@db.example.com:6000/postgres?sslmode=require")
    assert parts(url) == ("postgres.abc", password, "db.example.com", 6000, "postgres")
    assert url.url.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p%40ss", "p@ss"),
        ("a%3Ab%2Fc%3Fd%23e%25", "a:b/c?d#e%"),
        ("p%2540ss", "p%40ss"),
        ("a+b", "a+b"),
        ("%C3%A4", "ä"),
        ("a b%40", "a b@"),
        ("%ff", "%ff"),  # not UTF-8: no encoder wrote it
        ("50%off%40", "50%off%40"),  # one % that begins nothing: no encoder wrote it
    ],
)
def test_a_password_that_an_encoder_could_have_written_is_decoded(written: str, meant: str) -> None:
    assert of(f"postgres://u:{written}@h/d").password == meant


SECRETS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(SECRETS, st.sampled_from(["h", "10.0.0.1", "::1", "/run/pg"]), st.sampled_from([None, 6000]))
def test_what_is_handed_on_reads_back_to_the_same(secret: str, host: str, port: int | None) -> None:
    url = DatabaseURL.from_parts(host, port, "us@r:%40", secret, "d/b")
    assert parts(of(url.with_password())) == parts(url) == ("us@r:%40", secret, host, port or 5432, "d/b")
    assert parts(of(url.url)) == parts(url)
    assert parts(pickle.loads(pickle.dumps(url))) == parts(url)


@given(SECRETS)
def test_an_encoded_password_survives_every_encoder(secret: str) -> None:
    by_sqlalchemy = URL.create("postgresql", "u", secret, "h", None, "d").render_as_string(hide_password=False)
    assert of(by_sqlalchemy).password == secret == make_url(by_sqlalchemy).password
    assert of(f"postgres://u:{quote(secret, safe='')}@h/d").password == secret


@given(st.text("ab1@:/?#%&= '\"", min_size=1, max_size=12))
def test_a_raw_password_is_taken_whole_and_never_shown(secret: str) -> None:
    secret = f"Zq{secret}Zq"
    url = of(f"postgres://user:{secret}@host:6000/name?connect_timeout=5")
    assert (url.user, url.host, url.port, url.database) == ("user", "host", 6000, "name")
    assert "Zq" in (url.password or "")
    assert "Zq" not in f"{url} {url!r} {url.safe}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a Postgres connection string"),
        ("db.example.com/Zq", "not a Postgres connection string"),
        ("mysql://u:Zq@h/d", "a mysql:// URL is not a Postgres one"),
        ("postgres://u:Zq@h:99999/d", "port must be a number from 1 to 65535"),
        ("postgres://u:Zq@h:0/d", "port must be a number from 1 to 65535"),
        ("postgres://u:Zq@h/d?nonsense=Zq", "no connection option 'nonsense'"),
        ("postgres://u:Zq", "no host"),
        ("postgres://u:Zq@::1:5432/d", "no host"),
        ("postgres://u:Z\0q@h/d", "NUL"),
        ("postgres://u:Zq%00@h/d", "NUL"),
        ("host=h password=very Zq", "quote values that hold spaces"),
        ("host=h password='Zq", "quote values that hold spaces"),
        ("host=h nonsense=Zq", "quote values that hold spaces"),
        ("postgres://u:Zq@a,b,c:1,2/d", "3 hosts"),
        ("postgres://postgres:Zq@aws-0-eu.pooler.supabase.com:6543/postgres", "postgres.<project ref>"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_the_password(text: str, says: str) -> None:
    if "a,b,c" in text:
        text = "host=a,b,c port=1,2 user=u password=Zq"
    with pytest.raises(DatabaseURLInvalid) as caught:
        of(text)
    said = str(caught.value)
    assert says in said
    assert "Zq" not in said and "\n" not in said
    assert caught.value.__cause__ is None  # nor behind it


def test_another_driver_of_sqlalchemy_is_refused() -> None:
    with pytest.raises(DatabaseURLInvalid, match="sqlite is not a Postgres driver"):
        of(URL.create("sqlite"))


@pytest.mark.parametrize(
    ("text", "pooled"),
    [
        ("postgresql://postgres:p@db.abc.supabase.co:5432/postgres", False),
        ("postgresql://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:5432/postgres", False),
        ("postgresql://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres", True),
        ("postgresql://postgres.abc:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true", True),
        ("postgresql://postgres:p@db.abc.supabase.co:6543/postgres", True),
        ("postgresql://u:p@pgbouncer:6432/d", False),
        ("postgresql://u:p@pgbouncer:6432/d?pgbouncer=true&connection_limit=1", True),
        ("host=h port=6543", True),
    ],
)
def test_a_transaction_pooler_is_known(text: str, pooled: bool) -> None:
    url = of(text)
    assert url.is_transaction_pooler is pooled
    assert of(url.with_password()).is_transaction_pooler is pooled
    assert not {"pgbouncer", "connection_limit"} & set(libpq(url))


@pytest.mark.parametrize(("written", "mode"), [("true", "require"), ("verify-full", "verify-full"), ("0", "disable")])
def test_ssl_as_other_clients_write_it_is_not_lost(written: str, mode: str) -> None:
    assert of(f"postgres://u:p@h/d?ssl={written}").url.query == {"sslmode": mode}


def test_several_hosts_mean_whichever_is_the_primary() -> None:
    url = of("postgres://u:p@a:1,[::1],c:3/d")
    assert url.safe == "u@a:1,[::1]:5432,c:3/d"
    assert libpq(url) == {
        "user": "u",
        "password": "p",
        "host": "a,::1,c",
        "port": "1,5432,3",
        "dbname": "d",
        "target_session_attrs": "read-write",
    }
    assert of(url.with_password()).safe == url.safe


def test_an_at_sign_in_an_option_is_not_the_end_of_the_password() -> None:
    url = of("postgres://u:p@h/d?application_name=me@home")
    assert (url.password, url.host, url.url.query) == ("p", "h", {"application_name": "me@home"})
