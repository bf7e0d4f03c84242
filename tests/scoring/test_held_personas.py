"""Personas that a scorer holds: taken over when the pointer moves, kept when the new ones are refused."""

from pathlib import Path

import pytest

from behavior.event import DAY_US
from behavior.manifest import MANIFEST_FILE, Span
from behavior.personas import FAMILY, Choice, Persona, PersonaInput, Personas, encode, sealed
from behavior.plan import Plan
from deployment.bundle_store import BundleStore
from scoring.held_personas import HeldPersonas
from tests.scoring.small import PLAN

AGE = "user_activity:purchase_age_s"


def two_personas(near: str, fingerprint: str = PLAN.fingerprints[AGE]) -> Personas:
    """Who bought within about ten days, and who did not."""
    made = Personas(
        personas_id="", digest="", window_us=30 * DAY_US, made_from=Span(0, 1), choice=Choice("kmeans", 2, 0.5, 0.9),
        inputs=(PersonaInput("recency", AGE, fingerprint, 400 * 86_400.0, 86_400.0, 2.3, 1.0),),
        personas=(Persona(near, 20, (-1.0,)), Persona("Dormant", 20, (1.0,))),
    )  # fmt: skip
    return sealed(made)


def promote(store: BundleStore, personas: Personas) -> None:
    """Let them be the current ones."""
    store.write(FAMILY, personas.personas_id, {MANIFEST_FILE: encode(personas)})
    store.promote(FAMILY, personas.personas_id)


def test_personas_are_taken_over_when_the_pointer_moves(tmp_path: Path) -> None:
    """None before there are any, then the current ones, then the newer."""
    store = BundleStore(tmp_path)
    held = HeldPersonas(store)
    assert held.brought_up(PLAN) is None
    for name in ("Loyal", "Champions"):
        promote(store, two_personas(name))
        assert held.brought_up(PLAN) == two_personas(name)


def test_refused_personas_leave_those_before_in_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A flipped bit, or features that the plan defines otherwise: said once, and the answers go on as before."""
    store = BundleStore(tmp_path)
    held = HeldPersonas(store)
    promote(store, two_personas("Loyal"))
    held.brought_up(PLAN)
    promote(store, two_personas("Champions", fingerprint="other"))
    for _ in range(3):
        assert held.brought_up(PLAN) == two_personas("Loyal")
    damaged = two_personas("Champions")
    promote(store, damaged)
    file = tmp_path / FAMILY / damaged.personas_id / MANIFEST_FILE
    file.write_bytes(file.read_bytes().replace(b"Dormant", b"Dormanu"))
    assert held.brought_up(PLAN) == two_personas("Loyal")
    assert [record.levelname for record in caplog.records].count("ERROR") == 2


def test_personas_that_no_longer_fit_the_plan_are_dropped(tmp_path: Path) -> None:
    """After a rebuild under other definitions no answer names a persona of the old ones."""
    store = BundleStore(tmp_path)
    held = HeldPersonas(store)
    promote(store, two_personas("Loyal"))
    assert held.brought_up(PLAN) is not None
    assert held.brought_up(Plan([])) is None
