"""The learner's state in Redis: plain numbers, committed in one script that checks who may write.

All keys share the tag `learner`: `epoch` counts takeovers, `weights` is what scorers poll, `model` is what continues
bit for bit, `offsets` holds each partition's place in the log, `pending` the served entries that wait for outcomes.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from behavior.errors import Fenced
from deployment.keys import Keys
from scoring import learner
from scoring.joiner import PartitionJoin
from scoring.outcomes import Outcomes
from scoring.pending import Pending, Place

if TYPE_CHECKING:
    import redis

COMMIT = files("scoring").joinpath("learn.lua").read_text(encoding="utf-8")


class Model(msgspec.Struct):
    """A learned model as numbers: what River would otherwise hold.

    version       how many commits have changed the weights
    iterations    how many examples were learned
    weights       correction of the margin, in logits, per category
    squares       AdaGrad's sums of squared gradients, per category
    """

    version: int = 0
    iterations: int = 0
    weights: dict[str, float] = {}
    squares: dict[str, float] = {}


class LearnState:
    """Reads and commits the learner's state under the epoch that it took over with."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._commit = client.register_script(COMMIT)
        self.epoch = int(self._got(client.incr(keys.learner("epoch"))))

    def model(self) -> Model:
        """The model as last committed."""
        data = self._got(self._client.get(self._keys.learner("model")))
        return Model() if data is None else msgspec.msgpack.decode(data, type=Model)

    def joins(self, partitions: int, outcomes: Outcomes) -> list[PartitionJoin]:
        """The join of every partition as last committed."""
        places = self._got(self._client.hgetall(self._keys.learner("offsets")))
        joins = []
        for partition in range(partitions):
            data = places.get(str(partition).encode())
            place = Place() if data is None else msgspec.msgpack.decode(data, type=Place)
            joins.append(PartitionJoin(outcomes, place=place))
        for name, data in self._got(self._client.hgetall(self._keys.learner("pending"))).items():
            joins[int(name.partition(b"|")[0])].restore(msgspec.msgpack.decode(data, type=Pending))
        return joins

    def commit(self, model: Model, joins: Mapping[int, PartitionJoin]) -> None:
        """Store the model and the given partitions' joins together.

        Raises Fenced if another learner has taken over: then nothing is stored.
        """
        published = learner.encode(learner.Weights(model.version, model.weights))
        places: list[Any] = []
        entries: list[Any] = []
        for partition, join in joins.items():
            places += (partition, msgspec.msgpack.encode(join.place))
            for request_id in join.changed:
                pending = join.pending.get(request_id)
                entries += (f"{partition}|{request_id}", b"" if pending is None else msgspec.msgpack.encode(pending))
        head = [self.epoch, published, msgspec.msgpack.encode(model)]
        args = [*head, len(places) // 2, *places, len(entries) // 2, *entries]
        names = [self._keys.learner(part) for part in ("epoch", "weights", "model", "offsets", "pending")]
        if not self._commit(keys=names, args=args):
            raise Fenced("another learner has taken over; this one stops")
        for join in joins.values():
            join.changed.clear()

    @staticmethod
    def _got(answer: Any) -> Any:
        """redis-py types every answer as maybe awaitable."""
        return answer
