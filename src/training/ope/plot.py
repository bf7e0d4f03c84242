"""A picture of an off-policy evaluation: the values with their intervals, and on how many answers they rest."""

from pathlib import Path

import numpy as np

from training.ope.evaluation import Evaluated
from training.persona_plot import file_kind


def draw(found: Evaluated, file: Path) -> None:
    """Draw it into the file, an `.svg` or a `.png`; the same evaluation makes the same picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kind = file_kind(file)
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    names = ["the log", *(each.estimator for each in found.values)]
    estimates = [found.logged, *(each.value for each in found.values)]
    values = np.array([each.value for each in estimates])
    reach = np.abs(np.array([[each.low, each.high] for each in estimates]).T - values)
    left.errorbar(values, range(len(names)), xerr=reach, fmt="o", capsize=3, color="#4477aa")
    left.axvline(found.logged.value, color="#999999", linewidth=1, linestyle="--")
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("rewards per answer, 95 % intervals")

    positions = found.diagnostics.positions
    right.bar([each.position for each in positions], [each.effective for each in positions], color="#4477aa")
    right.axhline(found.answers, color="#999999", linewidth=1, linestyle="--")
    right.set_xticks([each.position for each in positions])
    right.set_xlabel("up to position")
    right.set_ylabel("answers of equal weight")
    figure.suptitle(found.candidate)
    with mpl.rc_context({"svg.hashsalt": found.candidate}):
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
