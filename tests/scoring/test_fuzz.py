"""Fuzzing a real server in a process of its own: whatever is sent, it answers with a status that it stands by."""

import asyncio
import math
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import grpc
import pytest

from behavior.event import HOUR_US, MINUTE_US
from deployment.ports import ReservedPort
from deployment.settings import Settings
from opportune.readiness import Place, serves_grpc
from scoring.v1 import scoring_pb2 as wire
from tests.scoring.fuzzing import Drawn, Fuzz
from tests.scoring.online import Online
from tests.scoring.small import START, make_bundle, make_current, pseudonym, purchase, settings_in

ALLOWED = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED"}
AT_ONCE = 8
# Who sends: mostly somebody who may all; now and then one who may not, is too fast, or is nobody.
SENDERS = ("all",) * 37 + ("track", "slow", "nobody")


@dataclass
class Found:
    """What came back."""

    codes: Counter[str] = field(default_factory=Counter)
    structured: int = 0
    structured_ok: int = 0
    scores: int = 0
    wrong: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.codes.total()


@contextmanager
def server_process(settings: Settings) -> Iterator[tuple[str, int]]:
    """The real command, until the block ends; gives address and pid."""
    with ReservedPort("127.0.0.1") as reserved:
        port = reserved.port
    log = settings.home / "serve.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "opportune", "serve"], stdout=output, stderr=output,
            env=settings.replaced(port=port).child_environment(),
        ) as process,
    ):  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not serves_grpc(Place("127.0.0.1", port, 0)):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield f"127.0.0.1:{port}", process.pid
            assert process.poll() is None, log.read_text()[-3000:]
            assert serves_grpc(Place("127.0.0.1", port, 0))
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str) -> Settings:
    """A small deployment with a bundle, some purchases and three callers."""
    access = tmp_path / "access.toml"
    access.write_text(
        "".join(
            f'[callers.{name}]\ntoken_sha256 = ["{sha256(name.encode()).hexdigest()}"]\nmay = [{may}]\n{more}\n'
            for name, may, more in (
                ("all", '"score", "track"', ""),
                ("track", '"track"', ""),
                ("slow", '"score", "track"', "calls_per_s = 1"),
            )
        )
    )
    settings = settings_in(
        tmp_path, redis_url, prefix, access_file=access, properties={"rating": {"scale": 2}}, redis_high_water=0.99
    )
    make_current(settings.bundles, make_bundle(settings.bundles))
    online = Online(settings)
    users = [pseudonym(settings, f"household {i}") for i in range(50)]
    online.append([purchase(user, "TEA", START - HOUR_US + i, f"p{i}") for i, user in enumerate(users)])
    online.advance(START + MINUTE_US)
    online.fold()
    return settings


async def sent(address: str, fuzz: Fuzz, number: int, found: Found) -> None:
    """Send so many requests, so many at once, and look at every answer."""
    drawn = iter([(fuzz.draw(), SENDERS[i % len(SENDERS)]) for i in range(number)])
    async with grpc.aio.insecure_channel(address) as channel:
        calls = {name: channel.unary_unary(f"/scoring.v1.Scoring/{name}") for name in ("Score", "Track")}

        async def sender() -> None:
            for request, who in drawn:
                metadata = () if who == "nobody" else (("authorization", f"Bearer {who}"),)
                try:
                    look_at(request, await calls[request.method](request.data, timeout=30, metadata=metadata), found)
                except grpc.aio.AioRpcError as error:
                    found.codes[error.code().name] += 1
                    if error.code().name not in ALLOWED or not error.details():
                        found.wrong.append(f"{error.code().name} {error.details()}: {request.data[:200]!r}")
                found.structured += request.structured

        await asyncio.gather(*(sender() for _ in range(AT_ONCE)))


def look_at(request: Drawn, data: bytes, found: Found) -> None:
    """An OK: every number of a ranking must be finite and add up."""
    found.codes["OK"] += 1
    found.structured_ok += request.structured
    if request.method == "Track":
        wire.TrackResponse.FromString(data)
        return
    for each in wire.ScoreResponse.FromString(data).ranked:
        found.scores += 1
        numbers = [each.score, *(factor.contribution for factor in each.factors)]
        numbers += [propensity.value for propensity in each.propensities]
        total = 0.0
        for factor in each.factors:
            total += factor.contribution
        if not all(map(math.isfinite, numbers)) or total != each.score:
            found.wrong.append(f"{numbers}: {request.data[:200]!r}")


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))  # type: ignore[union-attr]


def judge(found: Found) -> None:
    """What must be true of any run."""
    assert found.wrong == []
    assert set(found.codes) == ALLOWED
    assert found.structured_ok >= 0.3 * found.structured > 0
    assert found.scores > len(found)


def test_a_short_fuzz(settings: Settings) -> None:
    """400 requests: only the statuses that are promised, finite scores, no traceback in the log, alive at the end."""
    found = Found()
    with server_process(settings) as (address, _):
        asyncio.run(sent(address, Fuzz(1), 400, found))
    judge(found)


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_twenty_thousand_requests_leave_the_server_as_it_was(settings: Settings) -> None:
    """The same of 21,000 requests; and memory does not grow once the first third has warmed everything up."""
    found, resident = Found(), []
    with server_process(settings) as (address, pid):
        for seed in (1, 2, 3):
            asyncio.run(sent(address, Fuzz(seed), 7000, found))
            resident.append(resident_kb(pid))
    print(found.codes, f"structured {found.structured_ok}/{found.structured}", "resident kB", resident)
    judge(found)
    assert len(found) == 21_000
    assert resident[2] < resident[0] * 1.05, resident


def test_the_judge_sees_what_is_wrong() -> None:
    """A NaN, a sum that does not add up and a status beyond the promised ones are found."""
    good = Found(Counter(dict.fromkeys(ALLOWED, 1)), 10, 5, 100)
    judge(good)
    for score in (float("nan"), 2.0):
        found = Found()
        answer = wire.ScoreResponse(ranked=[wire.Ranked(score=score, factors=[wire.Factor(contribution=1.0)])])
        look_at(Drawn("Score", b"", structured=True), answer.SerializeToString(), found)
        assert found.wrong
    good.codes["UNKNOWN"] += 1
    with pytest.raises(AssertionError):
        judge(good)
