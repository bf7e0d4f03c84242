"""The personas that a scorer holds: read anew when their pointer moves, kept when the new ones are refused."""

import logging

from behavior.errors import OpportuneError
from behavior.personas import Personas, check_features
from behavior.plan import Plan
from deployment.bundle_store import BundleStore
from deployment.current_personas import current_id, read_personas

_log = logging.getLogger("opportune.memory")


class HeldPersonas:
    """Personas of a store, as of the last time that they were asked for; answers do without where there are none."""

    def __init__(self, store: BundleStore) -> None:
        self._store = store
        self._held: Personas | None = None
        self._told = ""

    def brought_up(self, plan: Plan) -> Personas | None:
        """The current personas if the plan has their features, else those that were held, if they still fit.

        Reads files or a network: call it in a thread. What is refused is said once in the log, and tried again.
        """
        try:
            wanted = current_id(self._store)
            if wanted is None:
                self._held = None
            elif self._held is None or self._held.personas_id != wanted:
                found = read_personas(self._store, wanted)
                check_features(found, plan.fingerprints)
                self._held = found
                _log.info("%s serve", wanted)
            if self._held is not None:
                check_features(self._held, plan.fingerprints)
            self._told = ""
        except OpportuneError as error:
            if str(error) != self._told:
                self._told = str(error)
                _log.error("%s", error)
            if self._held is not None and not fits(self._held, plan):
                self._held = None
        return self._held


def fits(personas: Personas, plan: Plan) -> bool:
    """Whether the plan has every feature of the personas as it was when they were made."""
    found = (plan.features.get(each.ref) for each in personas.inputs)
    return all(
        feature is not None and feature.fingerprint == each.fingerprint
        for feature, each in zip(found, personas.inputs, strict=True)
    )
