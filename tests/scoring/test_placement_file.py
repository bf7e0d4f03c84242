"""The file of placements: the example is one, and what is wrong is refused with file, key and the nearest known one."""

from pathlib import Path

import pytest

from behavior.errors import BadInput
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import count
from scoring.factors_page import reference
from scoring.placement_file import read_bytes, read_placements, unmade
from scoring.placements import Diversity, Exploration, Placement, Placements, Source
from tests.scoring.small import PLAN

ROOT = Path(__file__).parents[2]
FILE = Path("p.toml")


def read(text: str) -> Placements:
    return read_placements(FILE, text.encode())


def test_the_example_is_read() -> None:
    """`deploy/placements.toml` is whole, and says what its comments say."""
    path = ROOT / "deploy" / "placements.toml"
    found = read_placements(path, read_bytes(path))
    assert found.default == Placement()
    home, checkout = found.of("home"), found.of("checkout")
    assert home.candidates == (Source("user", 40), Source("popular", 60))
    assert (home.weights, home.deadline_ms, home.devices) == ({"recency": 0.05}, 80, {"phone": {"COFFEE": 0.2}})
    assert (checkout.kind, checkout.ids) == ("item", ("gift-card", "carrier-bag"))
    assert checkout.diversity == Diversity(0.7, 40)
    assert found.of("discover").exploration == Exploration("plackett-luce", temperature=0.3, over=30)
    assert unmade(found, PLAN) == []


def test_the_id_is_of_the_content() -> None:
    """The same bytes have the same id, others another, and the built-in placement none."""
    assert read("[default]\n").placements_id == read("[default]\n").placements_id
    assert read("[default]\n").placements_id != read("[default] \n").placements_id
    assert Placements().placements_id == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[default", "p.toml is not valid TOML"),
        ("[defalt]", "p.toml: 'defalt' is no key; did you mean default?"),
        ("placements = 3", "p.toml: placements must be tables"),
        ("default = 3", "p.toml: default must be a table of keys"),
        ("[placements.home]\nwieghts = {}", "p.toml: placements.home: 'wieghts' is no key; did you mean weights?"),
        ("[default]\nweights = {afinity = 1}", "default.weights: 'afinity' is no factor; did you mean affinity?"),
        ("[default]\nweights = {recency = nan}", "default: weights[...]: expected `float`"),
        ("[default]\nweights = {recency = inf}", "default: weights[...]: expected `float`"),
        ("[default]\nweights = {recency = 'a'}", "default: weights[...]: expected float, got str"),
        ("[default]\nkind = 'items'", "default.kind: 'items' is no kind of candidate; did you mean item?"),
        ("[default]\ncandidates = []", "default.candidates: name each source once, one at least"),
        ("[default]\ncandidates = [{from = 'populr'}]", "'populr' is no source of candidates; did you mean popular?"),
        ("[default]\ncandidates = [{form = 'user'}]", "default.candidates[0]: 'form' is no key; did you mean from?"),
        ("[default]\ncandidates = [{from = 'user', most = 0}]", "default: candidates[0].most: expected int >= 1"),
        ("[default]\ncandidates = [{from = 'user'}, {from = 'user'}]", "name each source once"),
        ("[default]\ncandidates = [{from = 'user', most = 600}, {from = 'popular', most = 600}]", "ranks 1000 things"),
        ("[default]\ncandidates = [{from = 'configured'}]", "`ids` and the source `configured` go together"),
        ("[default]\nids = ['a']", "`ids` and the source `configured` go together"),
        ("[default]\nids = ['a', 'a']\ncandidates = [{from = 'configured'}]", "default.ids: something is there twice"),
        ("[default]\nkind = 'item'\ncandidates = [{from = 'user'}]", "the source `user` knows categories, no items"),
        ("[default]\ndiversity = {lambda = 0.5}", "default.diversity mixes items by their category"),
        ("[default.diversity]\nlamda = 0.5", "default.diversity: 'lamda' is no key; did you mean lambda?"),
        ("[default]\nkind = 'item'\ndiversity = {lambda = 1.5}", "default: diversity.lambda: expected float <= 1.0"),
        ("[default]\nexploration = {policy = 'thomson'}", "'thomson' is no policy; did you mean thompson?"),
        ("[default]\nexploration = {}", "default: exploration: object missing required field policy"),
        ("[default]\nexploration = 3", "default.exploration must be a table of keys"),
        ("[default]\nexploration = {policy = 'thompson', epsilon = 0.1}", "`epsilon` and the policy epsilon-greedy go"),
        ("[default]\nexploration = {policy = 'plackett-luce'}", "`temperature` and the policy plackett-luce go"),
        ("[default]\nexploration = {policy = 'epsilon-greedy', epsilon = 0.0}", "exploration.epsilon: expected float"),
        ("[default]\nexploration = {policy = 'plackett-luce', temperature = nan}", "exploration.temperature: expected"),
        (
            "[default]\nkind = 'item'\ndiversity = {lambda = 0.5}\nexploration = {policy = 'thompson'}",
            "give one, or none",
        ),
        ("[default]\nboosts = {TEA = 99}", "default: boosts[...]: expected float <= 20.0"),
        ("[default]\ndeadline_ms = 0", "default: deadline_ms: expected float >= 1"),
        ("[default]\nfatigue_half_life_h = 0", "default: fatigue_half_life_h: expected float >= 0.01"),
        (f"[placements.{'n' * 257}]", "a placement's name has 1 to 256 bytes"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key(text: str, says: str) -> None:
    """One sentence that says where, and what to write instead."""
    with pytest.raises(BadInput) as refused:
        read(text)
    assert says.replace("`float`", "float") in str(refused.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """No file, a directory, bytes that are no text."""
    with pytest.raises(BadInput, match="cannot be read"):
        read_bytes(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="cannot be read"):
        read_bytes(tmp_path)
    with pytest.raises(BadInput, match="is not valid TOML"):
        read_placements(FILE, b"\xff")


def test_an_unknown_placement_is_refused_only_with_a_file() -> None:
    """With a file the known names are said; without one every name gets the built-in placement, and no name always."""
    assert Placements().of("anything") == Placements().of(None) == Placement()
    found = read("[placements.home]\n[placements.cart]\n")
    assert found.of(None) == Placement()
    with pytest.raises(BadInput, match="one of home, cart, or none"):
        found.of("hom")
    with pytest.raises(BadInput, match="a default placement only"):
        read("").of("home")


def test_factors_that_the_plan_has_no_features_for_are_told() -> None:
    """By placement and factor; what is weighed 0 is not."""
    found = read("[default]\nweights = {preference = 1, fatigue = 0}\n[placements.home]\nweights = {affinity = 1}\n")
    bare = Plan([ViewDefinition("v", "user", ("purchase",), (FeatureDefinition("n", count("purchase")),))])
    assert [each.partition(" is left out")[0] for each in unmade(found, bare)] == [
        "default: preference", "home: affinity",
    ]  # fmt: skip
    assert 'no count("like") of a user in a category' in unmade(found, PLAN)[0]


def test_the_page_of_factors_is_up_to_date() -> None:
    """`docs/reference/factors.md` is what `make reference` writes."""
    page = ROOT / "docs" / "reference" / "factors.md"
    assert page.read_text(encoding="utf-8") == reference(), "run `make reference`"
