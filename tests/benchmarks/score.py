"""What an answer costs: the scorer beside an empty RPC on its own stack and beside a scorer as one first writes it.

    scorer        a real `opportune serve`: journal on, real Redis with `appendfsync always`, the shipped catalogue and
                  the home's bundle on the real year, moved to the present (`present`)
    empty         the same grpc.aio with the same options and uvloop, which parses the same request and answers an empty
                  ScoreResponse (`empty`): the floor
    first_write   grpc.aio, Feast's `get_online_features` on Feast's own Redis store with the same values, and the same
                  model's predict by LightGBM (`first_write`); no journal, no factors

Each request asks for the top 10 of 100 categories, drawn anew from all of them, of a user drawn from the year's. Load
comes from a process of its own (`load`). The basis of ratios is the CPU time of a server's process and its children per
request (user + system, from /proc) in a closed loop; Redis's own is given apart. A round loads one after the other, the
next round begins with another one; metrics are not scraped meanwhile. Stages are timed at the end, on one connection.
"""

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from behavior.errors import OpportuneError
from deployment.bundles import Bundles
from deployment.connections import connect
from deployment.generations import Plans
from deployment.keys import Keys
from deployment.pseudonym import Pseudonyms
from deployment.redis_server import redis_server
from opportune.progress import progress
from opportune.supervise import Running
from scoring.v1 import scoring_pb2 as wire
from tests.benchmarks.costs import cpu_us, resident_mb
from tests.benchmarks.feast_store import Source, filled
from tests.benchmarks.load import METHOD, Closed, Generator, Load, Open
from tests.benchmarks.present import RUNNING, categories, known_households, present
from tests.benchmarks.score_tables import Median, ScoreBench, Side, median_of, percentiles_of, render
from tests.benchmarks.servers import Served, served
from tests.benchmarks.stage_times import stage_times

__all__ = ["ScoreBench", "measure", "render"]

USERS, CANDIDATES, TOP, REQUESTS, SEED = 400, 100, 10, 3_000, 5
CONNECTIONS = 8
# Calls of a round in the closed loop, and on one connection: as many as fit into a few seconds.
CALLS = {"scorer": (2_000, 1_000), "empty": (6_000, 1_000), "first_write": (150, 60)}
OPEN_SECONDS = 8.0
# Of the scorer's own rate in the closed loop; the empty RPC is offered the same arrivals.
OPEN_SHARE = 0.5
COMPARED = 40


@dataclass(slots=True)
class _Rounds:
    """What was seen of one server, round by round; `opened` of those that are loaded at Poisson instants too."""

    closed: list[Load] = field(default_factory=list)
    alone: list[Load] = field(default_factory=list)
    opened: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    redis_cpu_us: list[float] = field(default_factory=list)


def measure(home: Path, rounds: int) -> ScoreBench:
    """Bring all three up, load them in interleaved rounds, and put the figures together."""
    with present(home) as deployment, TemporaryDirectory(prefix="opportune-bench-") as place, ExitStack() as stack:
        requests = drawn(known_households(deployment.settings, USERS), categories(deployment.settings))
        servers = dict(stack.enter_context(_servers(deployment, Path(place), requests)))
        shared, difference = _agreement(servers, requests)
        load = stack.enter_context(Generator([each.SerializeToString() for each in requests], Path(place) / "requests"))
        seen = {name: _Rounds() for name in servers}
        with progress() as tell:
            for number in range(rounds):
                tell("rounds", number, rounds)
                _round(load, servers, seen, number)
        stages = stage_times(deployment["serve"].place, lambda: load.run(_alone(servers["scorer"], 2_000)).check())
        memory = {name: resident_mb(server.pid) for name, server in servers.items()}
    return _bench(rounds, seen, memory, stages, shared, difference)


def drawn(users: Sequence[str], names: Sequence[str]) -> list[wire.ScoreRequest]:
    """Requests of users drawn at random, each with its own draw of candidates."""
    draw = random.Random(SEED)
    return [
        wire.ScoreRequest(
            user_id=draw.choice(users), top_k=TOP,
            candidates=[
                wire.Candidate(kind=wire.CANDIDATE_KIND_CATEGORY, id=name) for name in draw.sample(names, CANDIDATES)
            ],
        )
        for _ in range(REQUESTS)
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the rounds


def _round(load: Generator, servers: Mapping[str, Served], seen: Mapping[str, _Rounds], number: int) -> None:
    names = list(servers)
    first = number % len(names)
    for name in names[first:] + names[:first]:
        server, mine = servers[name], seen[name]
        load.run(_alone(server, CALLS[name][1] // 10)).check()
        before = cpu_us(server.pid), cpu_us(server.redis_pid) if server.redis_pid else 0.0
        closed = load.run(Closed(server.address, CONNECTIONS, CALLS[name][0], server.ranked)).check()
        # One call of each connection opens it.
        calls = closed.calls + CONNECTIONS
        mine.closed.append(closed)
        mine.cpu_us.append((cpu_us(server.pid) - before[0]) / calls)
        mine.redis_cpu_us.append((cpu_us(server.redis_pid) - before[1]) / calls if server.redis_pid else 0.0)
        mine.alone.append(load.run(_alone(server, CALLS[name][1])).check())
    rate = OPEN_SHARE * seen["scorer"].closed[-1].rate_per_s
    for name in ("scorer", "empty"):
        server = servers[name]
        asked = Open(server.address, CONNECTIONS, rate, OPEN_SECONDS, server.ranked, seed=SEED + number)
        seen[name].opened.append(load.run(asked).check())


def _alone(server: Served, calls: int) -> Closed:
    return Closed(server.address, 1, calls, server.ranked)


# ---------------------------------------------------------------------------------------------------------- the servers


@contextmanager
def _servers(deployment: Running, place: Path, requests: Sequence[wire.ScoreRequest]) -> Iterator[dict[str, Served]]:
    """All three, by name, in the order of the first round."""
    settings = deployment.settings
    assert deployment.redis is not None
    scorer = Served(f"{settings.host}:{settings.port}", deployment["serve"].popen.pid, TOP, deployment.redis.pid)
    bundle_id = Bundles.of(settings).current_id(settings.target)
    bundle = Path(settings.bundles) / settings.target / str(bundle_id)
    with redis_server(place / "feast-redis", durable=False) as feast_redis:
        (repository := place / "repository").mkdir()
        _fill(deployment, repository, feast_redis.port, bundle, requests)
        with (
            served("tests.benchmarks.empty", (), ranked=0, log=place / "empty.log") as empty,
            served(
                "tests.benchmarks.first_write", (str(repository), str(bundle)), ranked=TOP,
                log=place / "first_write.log", redis_pid=feast_redis.pid,
            ) as first_write,
        ):  # fmt: skip
            yield {"scorer": scorer, "empty": empty, "first_write": first_write}


def _fill(
    deployment: Running, repository: Path, port: int, bundle: Path, requests: Sequence[wire.ScoreRequest]
) -> None:
    from behavior.manifest import MANIFEST_FILE, decode

    settings = deployment.settings
    keys, pseudonyms = Keys(settings.redis_prefix, settings.partitions), Pseudonyms.load(settings.key_file)
    users = sorted({each.user_id for each in requests})
    names = sorted({candidate.id for each in requests for candidate in each.candidates})
    with connect(settings) as client, progress() as tell:
        source = Source(client, keys, Plans(keys).of(client, 1), {user: pseudonyms.user(user) for user in users}, names)
        filled(repository, port, source, decode((bundle / MANIFEST_FILE).read_bytes()).inputs, tell)


def _agreement(servers: Mapping[str, Served], requests: Sequence[wire.ScoreRequest]) -> tuple[float, float]:
    """Whether both do the same: the share of the top that they have in common, and the greatest difference in logits.

    Ages grow between the two answers, so that a tree may decide otherwise now and then.
    """
    shared, differences = [], [0.0]
    for request in requests[:COMPARED]:
        ours, theirs = (_margins(servers[name].address, request) for name in ("scorer", "first_write"))
        shared.append(len(ours.keys() & theirs.keys()) / TOP)
        differences += [abs(ours[name] - theirs[name]) for name in ours.keys() & theirs.keys()]
    return statistics.mean(shared), max(differences)


def _margins(address: str, request: wire.ScoreRequest) -> dict[str, float]:
    """Of each ranked category the score."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        ask: Any = channel.unary_unary(METHOD, wire.ScoreRequest.SerializeToString, wire.ScoreResponse.FromString)
        answer = ask(request, timeout=10)
    if answer.degraded:
        raise OpportuneError(f"an answer without faults is degraded: {answer.degraded}")
    return {each.candidate.id: each.score for each in answer.ranked}


# ---------------------------------------------------------------------------------------------------------- the figures


def _bench(
    rounds: int, seen: Mapping[str, _Rounds], memory: Mapping[str, float], stages: Any, shared: float, difference: float
) -> ScoreBench:
    scorer, empty, first = (seen[name] for name in ("scorer", "empty", "first_write"))
    answers = [*scorer.closed, *scorer.alone, *scorer.opened]
    tails = [
        mine.histogram.percentile(99.9) / (2 * floor.histogram.percentile(99.9) + stages.handler_median_us)
        for mine, floor in zip(scorer.opened, empty.opened, strict=True)
    ]
    return ScoreBench(
        rounds=rounds,
        users=USERS,
        candidates=CANDIDATES,
        top_k=TOP,
        running=", ".join(("redis (appendonly yes, appendfsync always)", *RUNNING)),
        sides={name: _side(mine, memory[name]) for name, mine in seen.items()},
        scorer_times_first_write_by_cpu=_ratio(first.cpu_us, scorer.cpu_us),
        scorer_times_first_write_by_cpu_with_redis=_ratio(_both(first), _both(scorer)),
        scorer_share_of_empty_by_cpu=_ratio(empty.cpu_us, scorer.cpu_us),
        scorer_share_of_empty_by_rate=_ratio(_rates(scorer), _rates(empty)),
        open_loop_rate_per_s=median_of([OPEN_SHARE * each.rate_per_s for each in scorer.closed]),
        scorer_p999_share_of_twice_empty_p999_plus_handler_median=median_of(tails),
        handler_median_one_connection_us=stages.handler_median_us,
        stage_mean_one_connection_us=stages.mean_us,
        degraded_answers_share=sum(sum(each.degraded.values()) for each in answers)
        / sum(each.answered for each in answers),
        late_starts_share=sum(each.late_starts for each in scorer.opened + empty.opened)
        / sum(each.calls for each in scorer.opened + empty.opened),
        top_10_shared_with_first_write=shared,
        greatest_score_difference_from_first_write_logits=difference,
    )


def _side(mine: _Rounds, memory_mb: float) -> Side:
    return Side(
        rate_8_connections_per_s=median_of(_rates(mine)),
        server_cpu_us_per_request=median_of(mine.cpu_us),
        redis_cpu_us_per_request=median_of(mine.redis_cpu_us),
        one_connection=percentiles_of(mine.alone),
        open_loop=percentiles_of(mine.opened) if mine.opened else None,
        resident_memory_of_a_worker_mb=memory_mb,
        calls=sum(each.calls for each in (*mine.closed, *mine.alone, *mine.opened)),
    )


def _rates(mine: _Rounds) -> list[float]:
    return [each.rate_per_s for each in mine.closed]


def _both(mine: _Rounds) -> list[float]:
    return [server + redis for server, redis in zip(mine.cpu_us, mine.redis_cpu_us, strict=True)]


def _ratio(above: Sequence[float], below: Sequence[float]) -> Median:
    return median_of([a / b for a, b in zip(above, below, strict=True)])
