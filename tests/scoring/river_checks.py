"""River's own checks of estimators, one by one."""

from collections.abc import Callable
from typing import Any

import pytest
from river import base, checks


def checks_of(model: base.Estimator) -> list[Any]:
    """What River asks of an estimator of this kind, as parameters: each takes a clone of the model."""
    asked = [check for check in checks.yield_checks(model) if check.__name__ not in model._unit_test_skips()]
    return [pytest.param(check, id=f"{number}-{check.__name__}") for number, check in enumerate(asked)]


Check = Callable[[base.Estimator], None]
