"""The figures of a report as SVG that lives inside a page: equal data give equal bytes, and the page gives the colours.

Every colour is a stand-in that becomes a CSS variable (`var(--ink)`), so one figure is readable on light and on dark;
text stays text, in the page's own font. No date, no link and no identifier that could clash with another figure's.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from training.curves import Curve, Curves
from training.importance import Permuted, Shap

INK, FAINT, FIRST, SECOND = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", FIRST: "var(--first)", SECOND: "var(--second)"}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10,
    "axes.titlelocation": "left", "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT,
    "axes.titlecolor": INK, "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK,
    "ytick.labelcolor": INK, "axes.grid": True, "grid.color": FAINT, "grid.alpha": 0.35, "grid.linewidth": 0.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "figure.facecolor": "none",
    "axes.facecolor": "none", "legend.frameon": False, "lines.linewidth": 1.6, "figure.constrained_layout.use": True,
}  # fmt: skip
# From low to high values of an input; readable on light and dark, and for people who do not tell red from green.
_LOW_HIGH = LinearSegmentedColormap.from_list("low_high", ["#3b7dd8", "#9a8fb5", "#e0762f"])
BEESWARM_INPUTS = 15


def roc_and_precision(found: Curves) -> str:
    """ROC on the left, precision over recall on the right, each with its band."""
    with _drawn("curves", 2, (9.2, 3.6)) as (axes, finish):
        _banded(axes[0], found.roc)
        axes[0].plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        axes[0].set(title="ROC", xlabel="share of negatives taken", ylabel="share of positives found")
        _banded(axes[1], found.precision)
        axes[1].axhline(found.positive_share, color=FAINT, linewidth=1, linestyle="--")
        axes[1].set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, None))
        return finish()


def calibration(found: Curves) -> str:
    """Propensity against what came true, before and after calibration, and how many rows said so."""
    with _drawn("calibration", 2, (9.2, 3.6)) as (axes, finish):
        most = max(float(np.max(part.mean)) for part in (found.before, found.after))
        most = max(most, float(found.after.share.max())) * 1.05
        axes[0].plot([0, most], [0, most], color=FAINT, linewidth=1, linestyle="--")
        for name, part, colour, mark in (("before", found.before, SECOND, "s"), ("after", found.after, FIRST, "o")):
            axes[0].plot(part.mean, part.share, color=colour, marker=mark, markersize=3.5, linewidth=1, label=name)
        axes[0].set(title="Calibration", xlabel="mean propensity", ylabel="share that came true")
        axes[0].legend(loc="upper left")
        places = np.arange(1, len(found.after.rows) + 1)
        axes[1].bar(places - 0.2, found.after.rows, width=0.4, color=SECOND, label="rows")
        axes[1].bar(places + 0.2, found.after.positives, width=0.4, color=FIRST, label="positives")
        axes[1].set(title="How many, bin by bin", xlabel="bin of calibrated propensity, lowest first", yscale="log")
        axes[1].legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.02))
        axes[1].set_xticks(places, [f"{place}" for place in places], fontsize=7)
        axes[1].set_ylim(top=float(found.after.rows.max()) * 8)
        axes[1].grid(visible=False, axis="x")
        return finish()


def lift(found: Curves) -> str:
    """How many times the average each tenth of the rows came true, with intervals."""
    with _drawn("lift", 1, (9.2, 2.8)) as (axes, finish):
        of = found.lift
        reach = np.maximum(np.array([of.y - of.low, of.high - of.y]), 0)
        axes[0].bar(of.x, of.y, color=FIRST, width=0.7, yerr=reach, ecolor=INK, capsize=2, error_kw={"linewidth": 1})
        axes[0].axhline(1, color=FAINT, linewidth=1, linestyle="--")
        axes[0].set(xlabel="tenth of the rows, the greatest propensities first", ylabel="times the average")
        axes[0].set_xticks(of.x)
        axes[0].grid(visible=False, axis="x")
        return finish()


def beeswarm(found: Shap, inputs: Sequence[str]) -> str:
    """One point per row and input: where it pushed the margin, coloured by the input's value; the strongest first."""
    strongest = np.argsort(-found.mean, kind="stable")[:BEESWARM_INPUTS]
    with _drawn("beeswarm", 1, (9.2, 0.6 + 0.3 * len(strongest))) as (axes, finish):
        for height, place in enumerate(strongest[::-1]):
            added = found.added[:, place]
            known = ~np.isnan(found.x[:, place])
            y = height + _spread(added)
            # Pixels: thousands of points as paths would be megabytes.
            axes[0].scatter(added[~known], y[~known], s=3, color="#8a8f98", linewidths=0, rasterized=True)
            axes[0].scatter(
                added[known], y[known], s=3, c=_ranks(found.x[known, place]), cmap=_LOW_HIGH, vmin=0, vmax=1,
                linewidths=0, rasterized=True,
            )  # fmt: skip
        axes[0].axvline(0, color=FAINT, linewidth=1)
        axes[0].set_yticks(range(len(strongest)), [inputs[place] for place in strongest[::-1]], fontsize=8)
        axes[0].set(xlabel="added to the margin (log-odds)", ylim=(-0.6, len(strongest) - 0.4))
        return finish()


def permutation(found: Sequence[Permuted], inputs: Sequence[str]) -> str:
    """How much the log loss rises without each input, the worst loss first, ± the spread of the repeats."""
    ordered = sorted(found, key=lambda each: each.mean)
    with _drawn("permutation", 1, (9.2, 0.6 + 0.24 * len(ordered))) as (axes, finish):
        axes[0].barh(
            range(len(ordered)), [each.mean for each in ordered], xerr=[each.spread for each in ordered], color=FIRST,
            ecolor=INK, height=0.6, capsize=2, error_kw={"linewidth": 1},
        )  # fmt: skip
        axes[0].set_yticks(range(len(ordered)), [inputs[each.place] for each in ordered], fontsize=8)
        axes[0].axvline(0, color=FAINT, linewidth=1)
        axes[0].set(xlabel="rise of the log loss", ylim=(-0.6, len(ordered) - 0.4))
        axes[0].grid(visible=False, axis="y")
        return finish()


def _banded(axes: Any, curve: Curve) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=FIRST, alpha=0.25, linewidth=0)
    axes.plot(curve.x, curve.y, color=FIRST)


def _ranks(values: np.ndarray) -> np.ndarray:
    """0..1 by rank, equal values equal: one outlier must not take all of the colour."""
    kinds, place = np.unique(values, return_inverse=True)
    found: np.ndarray = place / max(len(kinds) - 1, 1)
    return found


def _spread(added: np.ndarray, bins: int = 60) -> np.ndarray:
    """A height within ± 0.4 for each point: the more points share its place, the wider they stand."""
    if not np.ptp(added):
        return np.zeros(len(added))
    place = np.minimum((added - added.min()) / np.ptp(added) * bins, bins - 1).astype(np.int64)
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=bins)
    within = np.arange(len(added)) - np.repeat(np.cumsum(counts) - counts, counts)
    height = np.empty(len(added))
    # 0, +1, −1, +2, −2, ... in each bin, as wide as the fullest one needs.
    height[order] = np.where(within % 2, (within + 1) // 2, -(within // 2))
    found: np.ndarray = height * 0.8 / max(int(counts.max()), 1)
    return found


@contextmanager
def _drawn(name: str, columns: int, size: tuple[float, float]) -> Iterator[tuple[Sequence[Any], Callable[[], str]]]:
    """Axes to draw on in the house's style, and the function that makes the SVG of them."""
    style: Any = _STYLE | {"svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=size)
        axes = figure.subplots(1, columns, squeeze=False)[0]

        def finish() -> str:
            buffer = io.StringIO()
            figure.savefig(
                buffer, format="svg", dpi=150,
                metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            )  # fmt: skip
            return _inline(buffer.getvalue(), name)

        yield axes, finish


def _inline(svg: str, name: str) -> str:
    """The <svg> element alone, without what only a file of its own needs."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL
    )  # a rule for all of a page
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # What is referred to keeps its identifier, with the figure's name before it.
    svg = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<svg [^>]*viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" role="img">', svg, count=1)
    svg = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "inherit", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.strip()
