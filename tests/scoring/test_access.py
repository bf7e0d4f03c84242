"""The access file: what it may say, and how a caller is known by it."""

from hashlib import sha256
from pathlib import Path

import pytest

from behavior.errors import BadInput, Exhausted, Unauthenticated
from opportune.command import run
from scoring.access import MAX_CALLERS, Caller, read_access
from scoring.allowance import Allowance

TOKEN = "a token that nobody guesses"
DIGEST = sha256(TOKEN.encode()).hexdigest()
OTHER = sha256(b"another").hexdigest()


def written(directory: Path, text: str) -> Path:
    file = directory / "access.toml"
    file.write_text(text)
    return file


def test_a_caller_is_known_by_any_of_its_tokens_or_names(tmp_path: Path) -> None:
    """Each token and each certificate's name leads to its own caller; anything else to nobody."""
    access = read_access(
        written(
            tmp_path,
            f'[callers.web]\ntoken_sha256 = ["{DIGEST}", "{OTHER}"]\nmay = ["score"]\nat_once = 4\n'
            f'[callers.batch]\ncertificates = ["batch.internal"]\nmay = ["track"]\ncalls_per_s = 2.5\n',
        ),
        asks_for_certificates=True,
    )
    assert access.of_token(TOKEN) == access.of_token("another") == "web"
    assert access.of_certificate(["unknown", "batch.internal"]) == "batch"
    assert access.callers["batch"].calls_per_s == 2.5
    for wrong in ("", TOKEN + "x", DIGEST):
        with pytest.raises(Unauthenticated):
            access.of_token(wrong)
    with pytest.raises(Unauthenticated, match="authorization"):
        access.of_certificate([])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no caller"),
        ("callers = 3", "names no caller"),
        ("[callers.web", "not valid TOML"),
        ("[caller.web]", "did you mean callers"),
        (f'[callers.web]\ntoken_sha265 = ["{DIGEST}"]\nmay = []', "callers.web: 'token_sha265'.*token_sha256"),
        (f'[callers.web]\ntoken_sha256 = ["{DIGEST}"]\nmay = ["scores"]', "did you mean score"),
        (f'[callers.web]\ntoken_sha256 = ["{DIGEST}"]', "may"),
        (f'[callers.web]\ntoken_sha256 = "{DIGEST}"\nmay = []', "array"),
        ('[callers.web]\nmay = ["score"]', "cannot be told from others"),
        (f'[callers."Web 1"]\ntoken_sha256 = ["{DIGEST}"]\nmay = []', "name has"),
        (f'[callers.web]\ntoken_sha256 = ["{DIGEST}"]\nmay = []\nat_once = 0', "at_once is 0"),
        (f'[callers.web]\ntoken_sha256 = ["{DIGEST}"]\nmay = []\ncalls_per_s = nan', "calls_per_s is nan"),
        (f'[callers.web]\ntoken_sha256 = ["{DIGEST}"]\nmay = []\nburst = 5', "belongs to calls_per_s"),
        (f'[callers.a]\ntoken_sha256 = ["{DIGEST}"]\nmay = []\n[callers.b]\ntoken_sha256 = ["{DIGEST}"]\nmay = []',
         "callers.a and callers.b share"),
        ('[callers.a]\ncertificates = ["a"]\nmay = []', "tls_client_ca_file"),
        ("callers = {" + ", ".join(f"c{i} = 1" for i in range(MAX_CALLERS + 1)) + "}", "100 are the most"),
        ("callers = {web = 3}", "must be a table"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    """Whatever is wrong is named with the file, the caller and the key."""
    file = written(tmp_path, text)
    with pytest.raises(BadInput, match=says) as raised:
        read_access(file, asks_for_certificates=False)
    assert str(file) in str(raised.value)


def test_a_token_written_where_its_hash_belongs_is_not_repeated(tmp_path: Path) -> None:
    """An error message goes into logs: it never holds what may be a secret, and a caller's repr has no hash."""
    with pytest.raises(BadInput) as raised:
        read_access(
            written(tmp_path, f'[callers.web]\ntoken_sha256 = ["{TOKEN}"]\nmay = []'), asks_for_certificates=False
        )
    assert TOKEN not in str(raised.value)
    assert DIGEST not in repr(Caller(frozenset(), (DIGEST,)))


class Time:
    """Seconds that are set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_kept_to_the_call() -> None:
    """A burst passes at once, then one call per interval; the pause that is named is enough, and no shorter one."""
    time = Time()
    allowance = Allowance("web", Caller(frozenset(), calls_per_s=10, burst=3), time)
    for _ in range(3):
        allowance.begin()
    with pytest.raises(Exhausted, match="10 calls a second") as raised:
        allowance.begin()
    assert (raised.value.limit, raised.value.retry_after_ms) == ("calls_per_s", 100)
    time.now += 0.099
    with pytest.raises(Exhausted):
        allowance.begin()
    time.now += 0.001001
    allowance.begin()
    time.now += 1000  # a long rest gives no more than a burst
    for _ in range(3):
        allowance.begin()
    with pytest.raises(Exhausted):
        allowance.begin()


def test_open_calls_are_counted_and_refused_ones_are_not() -> None:
    """As many as are allowed are open at once; one that ends makes room; a refused one uses up no rate."""
    allowance = Allowance("web", Caller(frozenset(), calls_per_s=1, burst=3, at_once=2), Time())
    allowance.begin()
    allowance.begin()
    for _ in range(5):
        with pytest.raises(Exhausted, match="2 at once") as raised:
            allowance.begin()
        assert raised.value.limit == "at_once"
    allowance.end()
    allowance.begin()
    assert allowance.open == 2


def test_changed_limits_forgive_nothing() -> None:
    """A reload in the middle of a burst does not fill the bucket again, and open calls count on."""
    allowance = Allowance("web", Caller(frozenset(), calls_per_s=1, burst=5, at_once=9), Time())
    for _ in range(4):
        allowance.begin()
    allowance.change(Caller(frozenset(), calls_per_s=1, burst=50, at_once=9))
    allowance.begin()
    with pytest.raises(Exhausted):
        allowance.begin()
    assert allowance.open == 5


def test_key_makes_a_token_that_the_printed_lines_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`opportune key --caller` prints a valid access file, shows no token, and replaces none."""
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path))
    assert run(["key", "--caller", "web"]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "web.token"
    token = file.read_text().strip()
    assert token not in printed
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_access(written(tmp_path, printed), asks_for_certificates=False).of_token(token) == "web"
    assert run(["key", "--caller", "web"]) == 2
    assert file.read_text().strip() == token
    assert run(["key", "--caller", "../web"]) == 2
