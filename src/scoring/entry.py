"""Before a process touches a deployment: can this Redis be trusted with it, and is it the deployment that is meant?"""

from typing import Any

from deployment.connections import refuse_other_kind
from deployment.generations import agree
from deployment.keys import Keys
from deployment.plan_file import load_plan
from deployment.settings import Settings
from scoring.pressure import refuse_eviction


def join_in(settings: Settings, client: Any) -> Keys:
    """The names of the deployment's keys, once it is sure that this process may use them.

    A deployment that has no states yet begins under the plan that `apply` wrote. Raises BadInput for a node of a
    cluster where one Redis was said, a Redis that evicts, another number of partitions, half of a first rebuild, or no
    plan.
    """
    keys = Keys(settings.redis_prefix, settings.partitions)
    refuse_other_kind(client)
    refuse_eviction(client)
    agree(client, keys, lambda: load_plan(settings.plan))
    return keys
