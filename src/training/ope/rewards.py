"""What came of what was shown: the declared reward of the best outcome of each position.

An outcome that names a request is that request's alone. One that names none is an outcome of every answer that showed
its item or category to its user at most `window` before: the label rule of training, so a reward is a fact about the
answer and not about its rivals. Of several outcomes of one position the greatest reward counts.
"""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from behavior.errors import BadInput
from behavior.event import PERSONALIZATION
from behavior.served import CATEGORY, ITEM
from training.ope.answers import Answer


def rewards_of(
    con: duckdb.DuckDBPyConnection, answers: Sequence[Answer], rewards: Mapping[str, float], window_us: int
) -> np.ndarray:
    """float64[n, m], 0 beyond an answer's positions; `con` has the archive as the view `events`.

    rewards     {kind of event: 0 to 1}
    Raises BadInput for a kind of which the archive has no event.
    """
    _refuse_absent(con, rewards)
    sizes = [len(each.ids) for each in answers]
    found = np.zeros((len(answers), max(sizes)))
    con.register("declared", pa.table({"kind": list(rewards), "reward": [float(each) for each in rewards.values()]}))
    con.register("shown", _shown(answers, sizes))
    rows = con.execute(
        f"""
        WITH outcomes AS (
            SELECT user_id, request_id, e, reward, unnest([item, category]) AS id,
                unnest(['{ITEM}', '{CATEGORY}']) AS thing
            FROM events JOIN declared USING (kind) WHERE purposes & {PERSONALIZATION} <> 0
        )
        SELECT answer, position, max(reward) AS reward FROM shown AS s JOIN outcomes AS o
            ON o.user_id = s.user_id AND o.id = s.id AND o.thing = s.thing
            AND coalesce(o.request_id, s.request_id) = s.request_id
            AND o.e >= s.as_of AND o.e < s.as_of + $window
        GROUP BY ALL
        """,
        {"window": window_us},
    ).fetchnumpy()
    for name in ("declared", "shown"):
        con.unregister(name)
    found[rows["answer"].astype(np.int64), rows["position"].astype(np.int64)] = rows["reward"]
    return found


def _refuse_absent(con: duckdb.DuckDBPyConnection, rewards: Mapping[str, float]) -> None:
    for kind, reward in rewards.items():
        if not 0 < reward <= 1:
            raise BadInput(f"the reward of {kind} is {reward:g}; a reward is above 0 and at most 1")
        if con.execute("SELECT 1 FROM events WHERE kind = ? LIMIT 1", [kind]).fetchone() is None:
            raise BadInput(f"the archive has no {kind} event; declare rewards of outcomes that it has")


def _shown(answers: Sequence[Answer], sizes: Sequence[int]) -> pa.Table:
    answer = np.repeat(np.arange(len(answers)), sizes)
    return pa.table(
        {
            "answer": answer,
            "position": np.concatenate([np.arange(size) for size in sizes]),
            "id": [name for each in answers for name in each.ids],
            **{
                column: np.array(values, dtype=kind)[answer]
                for column, kind, values in (
                    ("user_id", object, [each.user_id for each in answers]),
                    ("request_id", object, [each.request_id for each in answers]),
                    ("thing", object, [each.kind for each in answers]),
                    ("as_of", np.int64, [each.as_of for each in answers]),
                )
            },
        }
    )
