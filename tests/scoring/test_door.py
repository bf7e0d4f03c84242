"""Access to a real server over real TLS: who is let in, who is not and what is said, and what changes while it runs."""

import logging
import os
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import prometheus_client
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from behavior.errors import BadInput, Forbidden, OpportuneError, Unauthenticated, Unavailable
from behavior.event import HOUR_US, MINUTE_US
from deployment.settings import Settings
from opportune.command import run
from opportune.processes import children
from opportune.readiness import Place, answers_grpc, serves_grpc
from scoring.client import Client
from scoring.credentials import Credentials
from scoring.limits import SERVER_OPTIONS
from scoring.server import Server
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.authority import Authority
from tests.scoring.online import Online, serving
from tests.scoring.small import START, make_bundle, make_current, pseudonym, purchase, settings_in

USER = "household 1"
NAME = "scorer.internal"
WEB, BATCH = "token-of-web-0123456789", "token-of-batch-0123456789"
ASKED = wire.ScoreRequest(user_id=USER, top_k=1)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    make_current(directory, make_bundle(directory))
    return directory


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str, bundles: Path, authority: Authority) -> Settings:
    """A deployment in which USER has bought tea, folded; its server speaks TLS."""
    issued = authority.issue(NAME, NAME)
    settings = settings_in(
        tmp_path / "home", redis_url, prefix, bundles=bundles,
        tls_certificate_file=issued.certificate_file, tls_key_file=issued.key_file,
    )  # fmt: skip
    online = Online(settings)
    online.append([purchase(pseudonym(settings, USER), "TEA", START - HOUR_US, "m1")])
    online.advance(START + MINUTE_US)
    online.fold()
    return settings


def lines(name: str, token: str, may: str = '"score", "track"', more: str = "") -> str:
    """A caller of the access file."""
    return f'[callers.{name}]\ntoken_sha256 = ["{sha256(token.encode()).hexdigest()}"]\nmay = [{may}]\n{more}\n'


def with_access(settings: Settings, text: str) -> Settings:
    file = settings.home / "access.toml"
    file.write_text(text)
    return settings.replaced(access_file=file)


def showing(home: Path, token: str, ca_file: Path | None) -> Credentials:
    file = home / f"{sha256(token.encode()).hexdigest()[:8]}.token"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as writing:
        writing.write(token + "\n")
    return Credentials(ca_file, NAME if ca_file else None, token_file=file)


def until_serving(settings: Settings, address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 20
    while not serves_grpc(Place(host, int(port), 0), Credentials.of_probe(settings)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def closed(settings: Settings) -> Iterator[tuple[Settings, str]]:
    """A server behind TLS that knows `web`, who may do all, and `batch`, who may only track."""
    settings = with_access(
        settings, lines("web", WEB, '"score", "track", "reflection"') + lines("batch", BATCH, '"track"')
    )
    with serving(settings) as address:
        until_serving(settings, address)
        yield settings, address


def failed(credentials: Credentials, address: str, method: str = "Score", data: bytes = b"") -> Any:
    """The error of one raw call."""
    with credentials.channel(address, ()) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(f"/scoring.v1.Scoring/{method}")(
            data or ASKED.SerializeToString(), timeout=5, metadata=credentials.metadata(address)
        )
    return raised.value


def metric(**labels: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value("opportune_caller_calls_total", labels) or 0.0


def test_a_known_caller_is_answered_over_tls(closed: tuple[Settings, str], authority: Authority) -> None:
    """With the authority's certificate and a token a call is answered, and counted under the caller's name."""
    settings, address = closed
    before = metric(caller="web", method="score", outcome="admitted")
    with Client(address, credentials=showing(settings.home, WEB, authority.file)) as client:
        assert [each.candidate.id for each in client.score(USER, top_k=1).ranked] == ["TEA"]
    assert metric(caller="web", method="score", outcome="admitted") == before + 1
    assert prometheus_client.REGISTRY.get_sample_value("opportune_certificate_expires_seconds") > time.time()


def test_who_is_not_known_is_told_what_to_send(closed: tuple[Settings, str], authority: Authority) -> None:
    """No token, a wrong one and another scheme are UNAUTHENTICATED, before the bytes are even read."""
    settings, address = closed
    nobody = Credentials(authority.file, NAME)
    error = failed(nobody, address, data=b"\xff\xff")
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "authorization" in error.details()
    wrong = showing(settings.home, "wrong", authority.file)
    with Client(address, credentials=wrong) as client, pytest.raises(Unauthenticated, match="not one of this server's"):
        client.score(USER)
    with nobody.channel(address, ()) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/scoring.v1.Scoring/Score")(b"", timeout=5, metadata=(("authorization", f"Basic {WEB}"),))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_caller_may_do_what_the_file_says_and_no_more(closed: tuple[Settings, str], authority: Authority) -> None:
    """`batch` may track and not score; the sentence names both."""
    settings, address = closed
    event = {
        "message_id": "m9", "kind": "purchase", "user_id": USER, "category": "TEA", "event_time": START,
        "consent": ["personalization"],
    }  # fmt: skip
    with Client(address, credentials=showing(settings.home, BATCH, authority.file)) as client:
        assert client.track([event])[0].status == wire.Result.STATUS_ACCEPTED
        with pytest.raises(Forbidden, match="batch may not score"):
            client.score(USER)


def test_health_needs_no_token_and_reflection_does(closed: tuple[Settings, str], authority: Authority) -> None:
    """Probes pass; the list of services is for those who may see it."""
    settings, address = closed
    host, _, port = address.rpartition(":")
    assert serves_grpc(Place(host, int(port), 0), Credentials(authority.file, NAME))
    assert reflected(showing(settings.home, WEB, authority.file), address) is grpc.StatusCode.OK
    assert reflected(showing(settings.home, BATCH, authority.file), address) is grpc.StatusCode.PERMISSION_DENIED
    assert reflected(Credentials(authority.file, NAME), address) is grpc.StatusCode.UNAUTHENTICATED


def test_reflection_can_be_closed_for_all(settings: Settings, authority: Authority) -> None:
    """With `reflection = false` there is no such method."""
    settings = settings.replaced(reflection=False)
    with serving(settings) as address:
        assert reflected(Credentials(authority.file, NAME), address) is grpc.StatusCode.UNIMPLEMENTED


def reflected(credentials: Credentials, address: str) -> grpc.StatusCode:
    with credentials.channel(address, ()) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]),
            timeout=5, metadata=credentials.metadata(address),
        )  # fmt: skip
        try:
            assert "scoring.v1.Scoring" in str(list(call))
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def test_a_server_of_another_authority_is_not_spoken_to(closed: tuple[Settings, str], tmp_path: Path) -> None:
    """A client that trusts somebody else sends no token, nor does one that expects another name or speaks no TLS."""
    settings, address = closed
    other = Authority(tmp_path / "other", "another authority")
    own = Credentials(settings.tls_certificate_file, "other.internal")
    for credentials in (Credentials(other.file, NAME), own, Credentials()):
        with Client(address, credentials=credentials, deadline_s=2.0) as client, pytest.raises(Unavailable):
            client.score(USER)


def test_mutual_tls_knows_callers_by_their_certificates(
    settings: Settings, authority: Authority, tmp_path: Path
) -> None:
    """Without a certificate of the authority there is no connection; with one, its name says who calls."""
    web, stranger = authority.issue("web.internal", "web.internal"), authority.issue("nobody")
    forged = Authority(tmp_path / "forger").issue("web.internal", "web.internal")
    settings = with_access(
        settings.replaced(
            tls_client_ca_file=authority.file,
            client_certificate_file=stranger.certificate_file, client_key_file=stranger.key_file,
        ),
        '[callers.web]\ncertificates = ["web.internal"]\nmay = ["score"]\n',
    )  # fmt: skip
    with serving(settings) as address:
        until_serving(settings, address)  # a probe shows a certificate too

        def shown(issued: Any) -> Credentials:
            return Credentials(authority.file, NAME, issued.certificate_file, issued.key_file)

        with Client(address, credentials=shown(web)) as client:
            assert client.score(USER, top_k=1).ranked[0].candidate.id == "TEA"
        assert failed(shown(stranger), address).code() is grpc.StatusCode.UNAUTHENTICATED
        assert failed(shown(web), address, "Track").code() is grpc.StatusCode.PERMISSION_DENIED
        for refused in (shown(forged), Credentials(authority.file, NAME)):
            assert failed(refused, address).code() is grpc.StatusCode.UNAVAILABLE


def test_a_rate_is_kept_per_caller(settings: Settings, authority: Authority) -> None:
    """Above its rate a caller gets RESOURCE_EXHAUSTED and is told when to come back; another caller notices nothing."""
    settings = with_access(settings, lines("web", WEB, more="calls_per_s = 0.01\nburst = 2") + lines("batch", BATCH))
    with serving(settings) as address:
        until_serving(settings, address)
        noisy = showing(settings.home, WEB, authority.file)
        with Client(address, credentials=noisy) as client:
            for _ in range(2):
                client.score(USER)
            with pytest.raises(OpportuneError, match=r"0\.01 calls a second"):
                client.score(USER)
        error = failed(noisy, address)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < int(dict(error.trailing_metadata())["retry-after-ms"]) <= 100_000
        with Client(address, credentials=showing(settings.home, BATCH, authority.file)) as client:
            client.score(USER)


def test_calls_at_once_are_kept_per_caller(settings: Settings, authority: Authority) -> None:
    """Of many calls in one moment only so many are let in; afterwards there is room again."""
    settings = with_access(settings, lines("web", WEB, more="at_once = 1"))
    request = wire.ScoreRequest(
        user_id=USER,
        candidates=[wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=str(i)) for i in range(1000)],
    ).SerializeToString()
    with serving(settings) as address:
        until_serving(settings, address)
        shown = showing(settings.home, WEB, authority.file)
        with shown.channel(address, ()) as channel:
            call, metadata = channel.unary_unary("/scoring.v1.Scoring/Score"), shown.metadata(address)
            calls = [call.future(request, timeout=20, metadata=metadata) for _ in range(30)]
            codes = [each.code() for each in calls]
            assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert call(request, timeout=20, metadata=metadata)


def test_the_access_file_is_taken_over_while_serving(
    closed: tuple[Settings, str], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """A new token works and the old one stops within a second or so; a refused file, or none, changes nothing."""
    settings, address = closed
    old, new = (showing(settings.home, token, authority.file) for token in (WEB, "another-token-of-web"))
    assert settings.access_file is not None
    settings.access_file.write_text(lines("web", "another-token-of-web"))
    with Client(address, credentials=new) as client:
        eventually_answers(client)
        assert failed(old, address).code() is grpc.StatusCode.UNAUTHENTICATED
        for breaks in ('[callers.web]\nmay = ["scor"]\n', None):
            refused = prometheus_client.REGISTRY.get_sample_value("opportune_access_files_refused_total")
            settings.access_file.unlink() if breaks is None else settings.access_file.write_text(breaks)
            deadline = time.monotonic() + 20
            while prometheus_client.REGISTRY.get_sample_value("opportune_access_files_refused_total") == refused:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            client.score(USER)
    assert "the one before goes on" in caplog.text


def eventually_answers(client: Client) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            client.score(USER)
        except Unauthenticated:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_a_renewed_certificate_is_shown_at_the_next_handshake(
    closed: tuple[Settings, str], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a restart; and while certificate and key do not belong together, the old pair is shown."""
    settings, address = closed
    assert settings.tls_certificate_file is not None
    assert settings.tls_key_file is not None
    first = shown_by(address)
    authority.issue(NAME, NAME)
    second = shown_by(address)
    assert first != second
    other = authority.issue("other", "other")
    settings.tls_key_file.write_bytes(other.key_file.read_bytes())
    assert shown_by(address) == second
    assert "is not the key" in caplog.text


def shown_by(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), 5) as raw, context.wrap_socket(raw) as spoken:
        return spoken.getpeercert(binary_form=True) or b""


def test_no_secret_is_in_logs_or_reprs(
    closed: tuple[Settings, str], authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything logged, neither tokens nor their hashes nor keys are in what the server and client say."""
    settings, address = closed
    shown = showing(settings.home, WEB, authority.file)
    with caplog.at_level(logging.DEBUG), Client(address, credentials=shown) as client:
        client.score(USER)
        failed(showing(settings.home, "a-wrong-token-4711", authority.file), address)
    key = settings.tls_key_file.read_text().splitlines()[1] if settings.tls_key_file else "none"
    said = caplog.text + repr(settings) + repr(shown) + repr(client)
    for secret in (WEB, BATCH, "a-wrong-token-4711", sha256(WEB.encode()).hexdigest(), key):
        assert secret not in said


def test_the_command_and_the_probe_work_with_tls(
    closed: tuple[Settings, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`opportune score` trusts the certificate of its own home and shows its token; so does the health check."""
    settings, address = closed
    token = showing(settings.home, WEB, None).token_file
    changed = settings.replaced(port=int(address.rpartition(":")[2]), client_token_file=token)
    for name, value in changed.child_environment().items():
        monkeypatch.setenv(name, value)
    assert run(["score", USER, "--json"]) == 0
    assert '"TEA"' in capsys.readouterr().out
    (serve, *_) = children(changed)
    assert serve.ready(Place("127.0.0.1", changed.port, 0))
    assert not answers_grpc(Place("127.0.0.1", changed.port, 0))  # in the clear nobody answers
    assert token is not None
    token.chmod(0o644)
    assert run(["score", USER]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_a_server_is_not_opened_to_the_world_by_accident(settings: Settings, authority: Authority) -> None:
    """Beyond the loopback it takes TLS and known callers, or the word `insecure`."""
    plain = settings_in(settings.home, str(settings.redis_url), settings.redis_prefix)
    with pytest.raises(BadInput, match=r"tls_certificate_file.*access_file"):
        Server(plain.replaced(host="0.0.0.0"))
    with pytest.raises(BadInput, match=r"without callers that it knows"):
        Server(settings.replaced(host="0.0.0.0"))
    for allowed in (
        plain.replaced(host="0.0.0.0", insecure=True),
        settings.replaced(host="0.0.0.0", tls_client_ca_file=authority.file),
        with_access(settings, lines("web", WEB)).replaced(host="0.0.0.0"),
    ):
        Server(allowed)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tls_key_file": None}, "belong together"),
        ({"tls_certificate_file": None, "tls_key_file": None, "tls_client_ca_file": "x"}, "takes TLS"),
        ({"client_certificate_file": "x"}, "belong together"),
    ],
)
def test_half_of_a_pair_is_refused(settings: Settings, changes: dict[str, Any], says: str) -> None:
    """A certificate without its key, or a client's authority without TLS, is refused with the settings."""
    with pytest.raises(BadInput, match=says):
        settings.replaced(**changes)


def test_wrong_files_are_refused_at_the_start(settings: Settings, authority: Authority, tmp_path: Path) -> None:
    """A missing certificate, an open key, a key of another one and a probe without a certificate are one sentence."""
    other = authority.issue("other", "other")
    for changes, says in (
        ({"tls_certificate_file": tmp_path / "none.pem"}, "No such file"),
        ({"tls_key_file": other.key_file}, "is not the key"),
        ({"tls_certificate_file": other.key_file}, "no PEM certificate"),
    ):
        with pytest.raises(BadInput, match=says):
            Server(settings.replaced(**changes))
    with pytest.raises(BadInput, match="client_certificate_file"):
        children(settings.replaced(tls_client_ca_file=authority.file))
    assert settings.tls_key_file is not None
    settings.tls_key_file.chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600"):
        Server(settings)


def test_a_token_never_crosses_a_network_in_the_clear(settings: Settings) -> None:
    """Without TLS it goes to this machine only, unless somebody said that the network is closed."""
    shown = showing(settings.home, WEB, None)
    assert shown.metadata("127.0.0.1:1") == shown.metadata("[::1]:1") == (("authorization", f"Bearer {WEB}"),)
    with pytest.raises(BadInput, match="in the clear"):
        Client("scorer.internal:50051", credentials=shown)


def test_silent_connections_are_closed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and says nothing is sent away after the time for a handshake, with TLS and without."""
    shorter = [(name, 500 if "handshake" in name else value) for name, value in SERVER_OPTIONS]
    assert dict(shorter) != dict(SERVER_OPTIONS)
    monkeypatch.setattr("scoring.server.SERVER_OPTIONS", shorter)
    plain = settings.replaced(tls_certificate_file=None, tls_key_file=None)
    for each in (settings, plain):
        with serving(each) as address:
            host, _, port = address.rpartition(":")
            silent = [socket.create_connection((host, int(port)), 30) for _ in range(50)]
            for connection in silent:
                with connection:
                    while connection.recv(1024):  # what a server says first in the clear
                        pass


def test_a_connection_has_so_many_calls_and_the_rest_wait(settings: Settings) -> None:
    """Beyond the limit of streams calls of one connection wait for each other; none fails for being early."""
    plain = settings.replaced(tls_certificate_file=None, tls_key_file=None)
    most = dict(SERVER_OPTIONS)["grpc.max_concurrent_streams"]
    with serving(plain) as address:
        until_serving(plain, address)
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary("/scoring.v1.Scoring/Score")
            calls = [call.future(ASKED.SerializeToString(), timeout=20) for _ in range(most * 4)]
            assert Counter((each.code(), each.details()) for each in calls) == {(grpc.StatusCode.OK, ""): most * 4}


def test_bulky_metadata_is_refused(settings: Settings) -> None:
    """Metadata is bounded: 32 KiB of it are RESOURCE_EXHAUSTED, and the server goes on."""
    plain = settings.replaced(tls_certificate_file=None, tls_key_file=None)
    with serving(plain) as address, grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/scoring.v1.Scoring/Score")
        with pytest.raises(grpc.RpcError) as raised:
            call(ASKED.SerializeToString(), timeout=5, metadata=(("x-bulk", "x" * 32_768),))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        until_serving(plain, address)
