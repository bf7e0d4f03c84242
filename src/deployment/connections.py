"""Every connection to Redis is made here: to one Redis or to a Redis Cluster, waiting for no longer than is said.

Both kinds are used in the same way, as long as all keys of a command share a hash tag (`deployment.keys`) and whatever
must be one step is a script. What the client for a cluster does otherwise, tests/deployment/test_connections.py shows:
MULTI, `eval` in a pipeline, XREAD of several streams.
"""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from behavior.errors import BadInput
from deployment.conversation import Conversation, apart, packed
from deployment.settings import Settings

# Longer than any XREAD blocks; a Redis that is silent for longer is down.
CONSUMER_TIMEOUT_S = 5.0
# For one answer on the request path. The defaults of the client would wait 8 s and more on a frozen Redis.
SERVING_TIMEOUT_S = 1.0
# Of one process, to each node.
CONNECTIONS = 128

# What Redis may say for a while: it is down, full, loading, failing over, or moving the keys that were asked for to
# another node. Who can wait tries again; a request is answered without. (A cluster's client has errors that are no
# RedisError: no node answers, or nobody serves the slot.)
PASSING: tuple[type[BaseException], ...] = (redis.RedisError, RedisClusterException)
# For loops that must go on in any case: also what comes from a socket or a deadline, not from redis-py.
UNANSWERED: tuple[type[BaseException], ...] = (*PASSING, OSError)

# What a connection of the request path does without: redis-py would tell Redis its name and ask to be told of moves,
# three round trips of a new connection that an answer may be waiting for. And a connection that is told things
# unasked may have unread data: then redis-py would hand one out on which another's answer is still to come.
_SERVING_OPTIONS: dict[str, Any] = {
    "driver_info": None,
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}

_in_command = ContextVar("in_command", default=False)


def connect(settings: Settings) -> "redis.Redis":
    """A client for a process that owns partitions; no retries of its own.

    Raises BadInput if the settings name no Redis, or one of the other kind; redis.ConnectionError if it is a cluster of
    which no node answers.
    """
    return open_blocking(_url(settings), cluster=settings.redis_cluster)


def connect_serving(settings: Settings) -> "redis.asyncio.Redis":
    """A client for an event loop that answers requests: bounded connections, bounded waiting, no retries of its own.

    Raises BadInput if the settings name no Redis.
    """
    return open_async(_url(settings), cluster=settings.redis_cluster)


def converse(settings: Settings) -> "Conversation | redis.asyncio.Redis":
    """What an event loop asks with that answers many requests: a conversation with one Redis, or a cluster's client.

    It waits as boundedly as that of `connect_serving`. Raises BadInput if the settings name no Redis.
    """
    if settings.redis_cluster:
        return connect_serving(settings)
    return Conversation(_url(settings), SERVING_TIMEOUT_S)


async def ask_each(client: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """The reply to each of some commands, or Redis's refusal, in one round trip; the client is either of `converse`.

    Raises what PASSING names if nothing is answered.
    """
    if not commands:
        return []
    if isinstance(client, Conversation):
        return cast("list[Any]", await client.ask(apart(*(packed(*command) for command in commands))))
    if len(commands) == 1:  # how long a cluster's client waits is bounded for commands only, not for pipelines
        try:
            return [await client.execute_command(*commands[0])]
        except redis.ResponseError as error:
            return [error]
    async with client.pipeline(transaction=False) as together:
        for command in commands:
            together.execute_command(*command)
        return cast("list[Any]", await together.execute(raise_on_error=False))


def open_blocking(url: str, *, cluster: bool, timeout_s: float = CONSUMER_TIMEOUT_S) -> "redis.Redis":
    """A client that waits at most so long for a connection and for each answer.

    That of a cluster has the same commands and is typed alike. It looks for the nodes at once: raises
    redis.ConnectionError if none answers, BadInput if the one that answers belongs to no cluster.
    """
    bounds = _bounds(timeout_s)
    if not cluster:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), max_connections=CONNECTIONS, **bounds)
    try:
        found = redis.RedisCluster.from_url(url, retry=Retry(NoBackoff(), 0), max_connections=CONNECTIONS, **bounds)
    except RedisClusterException as error:
        if isinstance(error.__cause__, RedisClusterException):
            raise BadInput("Redis is no cluster; unset redis_cluster, or let redis_url name a node of one") from None
        raise redis.ConnectionError(str(error)) from error
    cast("Any", found).commands_parser = _KeysOfScripts(found.commands_parser)
    return cast("redis.Redis", found)


def open_async(url: str, *, cluster: bool, timeout_s: float = SERVING_TIMEOUT_S) -> "redis.asyncio.Redis":
    """A client for an event loop: waits at most so long each for a free connection, to connect, and for an answer.

    That of a cluster has the same commands and is typed alike; it looks for the nodes at the first one.
    """
    retry, bounds = AsyncRetry(NoBackoff(), 0), {**_bounds(timeout_s), **_SERVING_OPTIONS}
    if cluster:
        return cast("redis.asyncio.Redis", _WaitingCluster.from_url(url, retry=retry, **bounds))
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS, timeout=timeout_s, retry=retry, **bounds
    )
    pool.connection_class = type("Connection", (_TellsThatItIsClosed, pool.connection_class), {})
    return redis.asyncio.Redis.from_pool(pool)


def is_silence(error: BaseException) -> bool:
    """Whether an error means that Redis did not answer, rather than that it refused."""
    return not isinstance(error, redis.ResponseError)


def is_cluster(client: Any) -> bool:
    """Whether a client talks to a cluster."""
    return isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)


def refuse_other_kind(client: "redis.Redis") -> None:
    """Refuse a node of a cluster where one Redis was expected: it would answer for some of the keys only.

    Raises BadInput. (The other way round there is no client in the first place.)
    """
    if not is_cluster(client) and client.info("cluster").get("cluster_enabled"):
        raise BadInput("Redis is a node of a cluster; set OPPORTUNE_REDIS_CLUSTER=true")


class _KeysOfScripts:
    """Finds the keys of a script's run without asking: redis-py's pipelines ask a node for each run, 0.2 ms each."""

    def __init__(self, others: Any) -> None:
        self._others = others

    def get_keys(self, connection: Any, *command: Any) -> Any:
        """The keys of a command, by the parser of redis-py for all but EVAL and EVALSHA."""
        if command[0] in ("EVAL", "EVALSHA"):
            return command[3 : 3 + int(command[2])]
        return self._others.get_keys(connection, *command)


class _TellsThatItIsClosed(redis.asyncio.connection.AbstractConnection):
    """A connection that says in redis-py's own words that it was reset; uvloop's transports say RuntimeError."""

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """As redis-py's. Raises redis.ConnectionError, redis.TimeoutError."""
        try:
            await super().send_packed_command(*args, **options)
        except RuntimeError as error:
            raise redis.ConnectionError(f"the connection to Redis is closed ({error})") from error


class _WaitingCluster(redis.asyncio.RedisCluster):
    """Waits for a free connection, answers or fails within three timeouts, and lets requests leave each other alone.

    redis-py's own refuses a command that finds no connection free, looks for the nodes within the command that comes
    after a failure, and closes all connections, those that others wait on too, when it is told that the cluster is down
    or for the fifth time that a slot has moved.
    """

    def __init__(self, *, socket_timeout: float, **options: Any) -> None:
        # Twice as many connections as commands at once: pipelines do not wait for room.
        super().__init__(
            socket_timeout=socket_timeout, max_connections=2 * CONNECTIONS, reinitialize_steps=0, **options
        )
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._longest_s = 3 * socket_timeout

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The answer to a command. Raises what PASSING names."""
        outside = _in_command.set(True)
        try:
            async with asyncio.timeout(self._longest_s), self._room:
                return await super().execute_command(*args, **options)
        except TimeoutError:
            raise redis.TimeoutError(f"Redis has not answered within {self._longest_s:g} s") from None
        finally:
            _in_command.reset(outside)

    async def initialize(self, *args: Any, **options: Any) -> "_WaitingCluster":
        """Look for the nodes, if that is due; to the end, since others wait for it though one may give up."""
        if self._initialize:
            await asyncio.shield(super().initialize(*args, **options))
        return self

    async def aclose(self) -> None:
        """Close the connections; within a command only look for the nodes anew before the next one."""
        if _in_command.get():
            self._initialize = True
        else:
            await super().aclose()


def _bounds(timeout_s: float) -> dict[str, Any]:
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise BadInput("no Redis is known: set OPPORTUNE_REDIS_URL, or start everything with `opportune up`")
    return settings.redis_url
