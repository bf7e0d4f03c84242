"""Feast's online store over the deployment's Redis: the very state that the scorer reads, finalised at the clock's now.

Behavior views are read, never written: their state belongs to the fold. Plain views (profile, catalogue) are written by
Feast's own push and materialize into Redis hashes, newer wins.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

import redis
import redis.asyncio
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel

from behavior.errors import BadInput, Unavailable
from deployment.clock import AsyncClock, Clock, replay_key
from deployment.connections import CONSUMER_TIMEOUT_S, PASSING, open_async, open_blocking, refuse_other_kind
from deployment.definition_tags import is_behavior_view
from deployment.generations import FIRST, GENERATION, PARTITIONS, Plans
from deployment.keys import Keys
from feast_plugin.configuration import Flag, OptionalNumber, OptionalPath, OptionalText, required
from feast_plugin.plain_rows import WRITE, FeastRow, PlainRow, arguments, forget_view, plain_key
from feast_plugin.questions import Question
from feast_plugin.readings import SNAPSHOT

Progress = Callable[[int], Any] | None
Written = list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]]


class StateOnlineStoreConfig(FeastConfigBaseModel):
    """The `online_store` section of `feature_store.yaml`; the keys are those of the deployment's settings."""

    type: Literal["feast_plugin.online.StateOnlineStore"] = "feast_plugin.online.StateOnlineStore"
    plan: OptionalPath = None
    redis_url: OptionalText = None
    redis_cluster: Flag = False
    redis_prefix: OptionalText = None
    partitions: OptionalNumber = None
    replay: Flag = False


class StateOnlineStore(OnlineStore):
    """Feast loads this class by its dotted path and passes its configuration with every call."""

    def __init__(self) -> None:
        self._deployed: _Deployed | None = None
        self._client: redis.Redis | None = None
        self._async_client: redis.asyncio.Redis | None = None

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes both."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[FeastRow]:
        """Values per entity key with the instant that they hold for; (None, None) for what is missing.

        A behavior view of users answers for max(now, the partition's offset + 1 µs), one of `item`, `category` or `all`
        for the snapshot's instant. Raises Unavailable if Redis does not answer.
        """
        with _told():
            deployed, client = self._connected(config)
            question = Question(deployed.keys, deployed.generations, table, entity_keys, requested_features)
            while question.is_open:
                generation = question.generation
                reading = question.reading(None if generation is None else deployed.plans.of(client, generation))
                with client.pipeline(transaction=False) as pipeline:
                    reading.queue(pipeline)
                    answers = pipeline.execute()
                question.take(reading, answers, Clock(client, deployed.replay_key).now())
            return question.rows

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[FeastRow]:
        """What `online_read` returns, without blocking the event loop."""
        with _told():
            deployed, client = await self._connected_async(config)
            question = Question(deployed.keys, deployed.generations, table, entity_keys, requested_features)
            while question.is_open:
                generation = question.generation
                plan = None if generation is None else await deployed.plans.of_async(client, generation)
                reading = question.reading(plan)
                async with client.pipeline(transaction=False) as pipeline:
                    reading.queue(pipeline)
                    answers = await pipeline.execute()
                question.take(reading, answers, await AsyncClock(client, deployed.replay_key).now())
            return question.rows

    def online_write_batch(self, config: RepoConfig, table: FeatureView, data: Written, progress: Progress) -> None:
        """Store rows of a plain view; a row that is older than the stored one changes nothing.

        Raises BadInput for a behavior view: only the fold writes state.
        """
        _refuse_behavior(table)
        with _told():
            deployed, client = self._connected(config)
            with client.pipeline(transaction=False) as pipeline:
                _queue_writes(pipeline, deployed.keys, table, data)
                pipeline.execute()
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: RepoConfig, table: FeatureView, data: Written, progress: Progress
    ) -> None:
        """What `online_write_batch` does, without blocking the event loop."""
        _refuse_behavior(table)
        with _told():
            deployed, client = await self._connected_async(config)
            async with client.pipeline(transaction=False) as pipeline:
                _queue_writes(pipeline, deployed.keys, table, data)
                await pipeline.execute()
        if progress:
            progress(len(data))

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Forget the rows of plain views that are defined no more; state is the fold's and stays."""
        self._forget(config, tables_to_delete)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Forget the rows of plain views; state is the fold's and stays."""
        self._forget(config, tables)

    async def initialize(self, config: RepoConfig) -> None:
        """Connect before the first request of a feature server."""
        with _told():
            await self._connected_async(config)

    async def close(self) -> None:
        """Close the connections."""
        if self._async_client is not None:
            await self._async_client.aclose()
        if self._client is not None:
            self._client.close()
        self._client = self._async_client = None

    def _forget(self, config: RepoConfig, tables: Sequence[FeatureView]) -> None:
        plain = [table for table in tables if not is_behavior_view(table.tags)]
        # A registry is also applied on desks without a Redis: nothing is stored there, so nothing is to be forgotten.
        if not plain or config.online_store.redis_url is None:
            return
        keys = Keys(
            required(config.online_store.redis_prefix, "redis_prefix"),
            required(config.online_store.partitions, "partitions"),
        )
        options = config.online_store
        with _told(), open_blocking(options.redis_url, cluster=options.redis_cluster) as client:
            for table in plain:
                forget_view(client, keys, table.name)

    def _connected(self, config: RepoConfig) -> "tuple[_Deployed, redis.Redis]":
        deployed = self._deployed = self._deployed or _Deployed(config.online_store)
        if self._client is None:
            client = open_blocking(deployed.url, cluster=deployed.cluster)
            refuse_other_kind(client)
            deployed.found(client.hgetall(deployed.keys.deployment()))
            self._client = client
        return deployed, self._client

    async def _connected_async(self, config: RepoConfig) -> "tuple[_Deployed, redis.asyncio.Redis]":
        deployed = self._deployed = self._deployed or _Deployed(config.online_store)
        if self._async_client is None:
            client = open_async(deployed.url, cluster=deployed.cluster, timeout_s=CONSUMER_TIMEOUT_S)
            deployed.found(await client.hgetall(deployed.keys.deployment()))
            self._async_client = client
        return deployed, self._async_client


class _Deployed:
    """What the store needs to know about the deployment that it reads. Raises BadInput for what is not configured."""

    def __init__(self, options: StateOnlineStoreConfig) -> None:
        self.url, self.cluster = required(options.redis_url, "redis_url"), options.redis_cluster
        self.keys = Keys(required(options.redis_prefix, "redis_prefix"), required(options.partitions, "partitions"))
        self.replay_key = replay_key(self.keys, replay=options.replay)
        self.plans = Plans(self.keys)
        # What the last answers named, by partition and for the snapshot.
        self.generations: dict[int, int] = {}

    def found(self, agreed: Mapping[Any, Any]) -> None:
        """Take the generation that serves. Raises BadInput if Redis holds another number of partitions."""
        stated = int(agreed.get(PARTITIONS, self.keys.partitions))
        if stated != self.keys.partitions:
            raise BadInput(
                f"Redis holds a deployment of {stated} partitions, this one has {self.keys.partitions}; "
                "set OPPORTUNE_PARTITIONS to that number, or point at the right prefix"
            )
        self.generations[SNAPSHOT] = int(agreed.get(GENERATION, FIRST))


def _queue_writes(pipeline: Any, keys: Keys, table: FeatureView, data: Written) -> None:
    for entity, values, event_time, created in data:
        row = PlainRow(values, event_time, created)
        # Not `eval`, which the pipeline of a cluster refuses although it can route it.
        pipeline.execute_command("EVAL", WRITE, 1, plain_key(keys, table.name, entity), *arguments(row))


def _refuse_behavior(table: FeatureView) -> None:
    if is_behavior_view(table.tags):
        raise BadInput(f"view {table.name} is computed from events and cannot be written; send events instead")


@contextmanager
def _told() -> Iterator[None]:
    """What the client raises when Redis does not answer, as Unavailable."""
    try:
        yield
    except PASSING as error:
        raise Unavailable(f"Redis does not answer ({error}); start it with `opportune up`") from error
