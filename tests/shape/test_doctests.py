"""Every example in a docstring is executed."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("behavior", "deployment", "training", "scoring", "feast_plugin", "opportune")


def modules() -> list[str]:
    """All modules of our packages, without the generated ones and the entry point."""
    found = []
    for package in PACKAGES:
        paths = importlib.import_module(package).__path__
        found += [each.name for each in pkgutil.walk_packages(paths, f"{package}.")]
    return [name for name in found if ".v1" not in name and not name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_examples_show_what_happens(name: str) -> None:
    """What a docstring shows is what the function answers."""
    module = importlib.import_module(name)
    # A module that is called like a function of its package (learn, score) is still the module here.
    assert doctest.testmod(module).failed == 0


def test_there_are_examples_at_all() -> None:
    """The test above would be content with a house without any."""
    finder = doctest.DocTestFinder()
    examples = sum(len(each.examples) for name in modules() for each in finder.find(importlib.import_module(name)))
    assert examples >= 20
