"""The export: the very leaf that LightGBM takes, for every float32, or a refusal that says why."""

from collections.abc import Callable, Iterable
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.errors import BadInput, NotExact
from tests.training.models import categorical_model, categorical_rows, model, rows, sample
from training import onnx_check, onnx_export
from training.onnx_check import LIMIT, open_session, run, verify
from training.onnx_export import DEEPEST, export, range_ends, refuse_inexact, round_down

Rounding = Callable[[np.ndarray], np.ndarray]
TINY = float(np.float32(1e-35))
near_zero = st.floats(-3e-35, 3e-35)
thresholds = (
    st.floats(allow_nan=False) | near_zero | st.sampled_from([0.0, -0.0, TINY, -TINY, 1e300, -1e300, 1e39, -1e39])
)
float32s = st.floats(width=32, allow_nan=False) | st.sampled_from([TINY, -TINY, 1e-38, 0.0, -0.0]).map(np.float32)


@given(thresholds, float32s, st.integers(-3, 3))
def test_a_rounded_threshold_decides_as_lightgbm_does(threshold: float, x: float, steps: int) -> None:
    """For any threshold and any float32, also the nearest to the threshold: the same side as LightGBM's own rule."""
    real = np.inf * np.sign(threshold) if abs(threshold) >= 1e300 else threshold
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    for _ in range(abs(steps)):
        with np.errstate(over="ignore"):
            near = np.nextafter(near, np.float32(np.copysign(np.inf, steps)))
    for value in (np.float32(x), near):
        read = 0.0 if abs(float(value)) <= TINY else float(value)
        assert bool(value <= round_down(np.array([threshold]))[0]) == (read <= real)


def test_margins_agree_on_real_and_on_made_rows() -> None:
    """The exported model answers what LightGBM answers, rounded to float32 once, wherever it was looked."""
    compared, difference = verify(model(), export(model()), rows())
    assert compared > 100_000
    assert 0 < difference < 5e-7 < LIMIT  # half a float32 ulp of a margin below 8


def test_the_model_has_a_split_of_nan_from_all_the_rest() -> None:
    """The rows of these tests lead to a split at infinity, which the dump writes as 1e300."""
    lines = [line for line in model().model_to_string().splitlines() if line.startswith("threshold=")]
    assert any("inf" in line.removeprefix("threshold=").split() for line in lines)


def _to_nearest(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _only_down(values: np.ndarray) -> np.ndarray:
    """Down, but deaf to LightGBM's band around zero."""
    nearest = _to_nearest(np.where(np.abs(values) >= 1e300, np.copysign(np.inf, values), values))
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _dumped_infinity(values: np.ndarray) -> np.ndarray:
    """As it should be, but taking the dump's 1e300 at its word."""
    return np.where(np.abs(values) >= 1e300, np.finfo(np.float32).max, round_down(values)).astype(np.float32)


@pytest.mark.parametrize("wrong", [_to_nearest, _only_down, _dumped_infinity])
def test_wrongly_rounded_thresholds_are_caught(wrong: Rounding, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has power: each known way to round wrongly is found, on made rows, from one real row."""
    monkeypatch.setattr(onnx_export, "round_down", wrong)
    with pytest.raises(NotExact, match="differs from LightGBM"):
        verify(model(), export(model()), rows()[:1])


@pytest.mark.parametrize("flipped", [0, 1])
def test_wrong_missing_directions_are_caught(flipped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending every NaN to the one side is found, whichever side."""
    append = onnx_export._Nodes._append

    def all_one_way(self, *values):  # type: ignore[no-untyped-def]
        append(self, *values)
        self._nan_true[-1] = flipped

    monkeypatch.setattr(onnx_export._Nodes, "_append", all_one_way)
    with pytest.raises(NotExact):
        verify(model(), export(model()), rows()[:1])


MISSING = "nodes_missing_value_tracks_true"
codes = st.integers(0, 40) | st.sampled_from([2**24 - 1, 2**24, 2**24 + 1, 2**31 - 2])


def _turns(thresholds: np.ndarray, x: np.float32) -> bool:
    """Whether a number is inside: after an odd number of ends."""
    return int((x > thresholds).sum()) % 2 == 1


@given(st.sets(codes, min_size=1), codes, st.integers(-3, 3), float32s)
def test_ranges_hold_what_a_cast_to_int_holds(left: set[int], near: int, steps: int, far: float) -> None:
    """For any set of categories and any float32, whole or not: inside of a range just where its int is in the set."""
    x = np.float32(near)
    for _ in range(abs(steps)):
        x = np.nextafter(x, np.float32(np.copysign(np.inf, steps)))
    ends = round_down(np.array(range_ends(left)))
    for value in (x, np.float32(near + 0.5), np.float32(-near / 7), np.float32(far)):
        known = abs(float(value)) < 2**31
        assert _turns(ends, value) == (known and int(value) in left)


@pytest.mark.parametrize("parameters", [{}, {"max_cat_to_onehot": 1000}, {"use_missing": False}, {"num_leaves": 200}])
def test_splits_of_categories_are_exact(parameters: dict[str, object]) -> None:
    """Sets and single categories, with and without a missing type: the same margin, rounded once, wherever looked."""
    booster = categorical_model(**parameters)
    kinds = [str(split) for split in booster.trees_to_dataframe()["threshold"] if "||" in str(split)]
    assert bool(kinds) != ("max_cat_to_onehot" in parameters)
    compared, difference = verify(booster, export(booster), categorical_rows())
    assert compared > 20_000
    assert 0 < difference < 5e-7


def _whole_zero(left: Iterable[int]) -> list[float]:
    """Zero as the range from 0 on, as a rounding down would have it."""
    return [float(np.nextafter(0.0, -1.0)) if end == -1.0 else end for end in range_ends(left)]


def _whole_numbers(left: Iterable[int]) -> list[float]:
    """Only the whole number itself, as a comparison for equality would have it."""
    return [end for k in sorted(left) for end in (np.nextafter(float(k), -np.inf), float(k))]


def _one_range(left: Iterable[int]) -> list[float]:
    """From the least to the greatest category."""
    ends = range_ends(left)
    return [ends[0], ends[-1]]


def _at_the_next(left: Iterable[int]) -> list[float]:
    """One float32 too far up."""
    return [end if end == -1.0 else round(end) for end in range_ends(left)]


@pytest.mark.parametrize("wrong", [_whole_zero, _whole_numbers, _one_range, _at_the_next])
def test_wrong_ranges_of_categories_are_caught(
    wrong: Callable[[Iterable[int]], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check has power: each natural mistake is found on made rows, from one real row."""
    booster = categorical_model()
    monkeypatch.setattr(onnx_export, "range_ends", wrong)
    with pytest.raises(NotExact, match="differs from LightGBM"):
        verify(booster, export(booster), categorical_rows()[:1])


def test_a_wrong_direction_of_missing_categories_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing category is in no set: an export that has it in the first range is found out."""
    booster = categorical_model()
    tests = onnx_export._tests

    def into_the_first_range(node, left):  # type: ignore[no-untyped-def]
        for number, test in enumerate(tests(node, left)):
            yield test._replace(nan_true=number == 1) if node["decision_type"] == "==" else test

    monkeypatch.setattr(onnx_export, "_tests", into_the_first_range)
    with pytest.raises(NotExact):
        verify(booster, export(booster), categorical_rows()[:1])


def _reached(booster: lightgbm.Booster, tree: dict[str, Any], row: np.ndarray) -> set[int]:
    """The leaves of a dumped tree that rows made for it from one row come to."""
    made = onnx_check._rows_at_splits(tree["tree_structure"], row, np.random.default_rng(0))
    return set(booster.predict(np.concatenate(list(made)), pred_leaf=True)[:, tree["tree_index"]])


def test_made_rows_reach_every_leaf() -> None:
    """From one real row, whatever it holds: bounds that round up, and splits that only NaN goes right at, included."""
    for tree in model().dump_model()["tree_info"]:
        leaves = {each["leaf_index"] for each in onnx_export._walk(tree["tree_structure"]) if "leaf_value" in each}
        assert leaves == _reached(model(), tree, rows()[:1])


def test_made_rows_reach_both_sides_of_every_split_of_categories() -> None:
    """Rows made for a split take the path to it, through other splits of the same input, from one real row."""
    booster = categorical_model(num_leaves=200)
    splits = 0
    for tree in booster.dump_model()["tree_info"]:
        reached = _reached(booster, tree, categorical_rows()[:1])
        for node in onnx_export._walk(tree["tree_structure"]):
            if node.get("decision_type") == "==":
                splits += 1
                for side in ("left_child", "right_child"):
                    leaves = {each["leaf_index"] for each in onnx_export._walk(node[side]) if "leaf_value" in each}
                    assert leaves & reached
    assert splits > 300


def test_a_single_leaf_and_one_row_are_fine() -> None:
    """A model without any split exports to its constant."""
    x, y, _ = sample(200, 0)
    booster = lightgbm.train(
        {"objective": "binary", "min_data_in_leaf": 1000, "verbosity": -1}, lightgbm.Dataset(x, y), num_boost_round=2
    )
    assert run(open_session(export(booster)), x[:1]).shape == (1,)
    assert verify(booster, export(booster), x).difference <= LIMIT


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"zero_as_missing": True}, "zero_as_missing"),
        ({"linear_tree": True}, "linear"),
        ({"objective": "regression"}, "objective"),
        ({"objective": "multiclass", "num_class": 2}, "objective"),
        ({"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, "averages"),
    ],
)
@pytest.mark.parametrize("reloaded", [False, True])
def test_what_cannot_be_exact_is_refused(parameters: dict[str, object], told: str, reloaded: bool) -> None:
    """Every unsupported model is refused with its reason, also when only its text is left."""
    x, y, _ = sample(3_000, 0)
    x = np.nan_to_num(x)
    settings = {"objective": "binary", "num_leaves": 7, "verbosity": -1, "num_threads": 1} | parameters
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y, params=settings), num_boost_round=3)
    if reloaded:
        booster = lightgbm.Booster(model_str=booster.model_to_string())
    with pytest.raises(BadInput, match=told):
        export(booster)


def test_a_kind_of_split_that_is_not_known_is_refused() -> None:
    """A later LightGBM that decides in another way is told, not taken for one of the known ways."""
    dumped = model().dump_model()
    dumped["tree_info"][1]["tree_structure"]["decision_type"] = "<"
    with pytest.raises(BadInput, match="tree 1 decides by '<'"):
        refuse_inexact(dumped, {})


def test_an_objective_of_its_own_is_refused() -> None:
    """A model of a custom objective does not tell its objective, and is refused for that, not failed at."""
    dumped = model().dump_model()
    del dumped["objective"]
    with pytest.raises(BadInput, match="a function that the model does not hold"):
        refuse_inexact(dumped, {})


def _every_other(codes: int) -> tuple[lightgbm.Booster, np.ndarray]:
    """One tree of one split that has every other of the codes below `codes` in its set, and its rows."""
    x = np.tile(np.arange(codes, dtype=np.float32), 20)[:, None]
    settings = {
        "objective": "binary", "num_leaves": 2, "verbosity": -1, "num_threads": 1, "max_bin": 2 * codes,
        "max_cat_threshold": codes, "min_data_per_group": 1, "min_data_in_bin": 1, "cat_smooth": 0.0, "cat_l2": 0.0,
    }  # fmt: skip
    data = lightgbm.Dataset(x, x[:, 0] % 2 == 0, params=settings, categorical_feature=[0])
    return lightgbm.train(settings, data, num_boost_round=1), x


def test_as_many_tests_in_line_as_are_allowed_are_run() -> None:
    """ONNX Runtime, which dies of a tree that is too deep, opens the deepest that is allowed, and it is exact."""
    booster, x = _every_other(DEEPEST)
    exported = export(booster)
    (tests,) = (each.ints for each in onnx.load_from_string(exported).graph.node[1].attribute if each.name == MISSING)
    assert len(tests) == DEEPEST + 2  # and two leaves
    assert verify(booster, exported, x).difference <= LIMIT


def test_more_tests_in_line_are_refused() -> None:
    """One range more is refused, whichever way the tests come to stand in line; neighbours are one range."""
    booster, _ = _every_other(DEEPEST + 2)
    with pytest.raises(BadInput, match="1,002 tests in line"):
        export(booster)
    dumped = booster.dump_model()
    root = dumped["tree_info"][0]["tree_structure"]
    root["threshold"] = "||".join(map(str, range(DEEPEST + 2)))
    refuse_inexact(dumped, {})
    root["threshold"] = "7"
    for number in range(DEEPEST - 1):
        below = {"left_child": root["left_child"], "right_child": root["right_child"]}
        root["right_child"] = {**root, "decision_type": "<=", "threshold": float(number), **below}
    with pytest.raises(BadInput, match="1,001 tests in line"):
        refuse_inexact(dumped, {})


def test_a_check_without_rows_is_refused() -> None:
    """Nothing is called verified that was not looked at."""
    with pytest.raises(BadInput, match="real rows"):
        verify(model(), export(model()), rows()[:0])
    with pytest.raises(BadInput, match="real rows"):
        verify(model(), export(model()), rows().astype(np.float64))
