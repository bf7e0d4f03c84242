"""A picture of personas: how many users each has, and how its typical user differs from the mean of all."""

from pathlib import Path

import numpy as np

from behavior.errors import BadInput
from behavior.personas import Personas

_KINDS = ("svg", "png")
# Colours end at so many standard deviations.
_MOST_DEVIATIONS = 2.0


def file_kind(file: Path) -> str:
    """`svg` or `png`. Raises BadInput for another ending, or if there is no such directory."""
    kind = file.suffix.lower().lstrip(".")
    if kind not in _KINDS:
        raise BadInput(f"{file}: a plot is an .svg or a .png; choose one of these endings")
    if not file.absolute().parent.is_dir():
        raise BadInput(f"{file}: there is no directory {file.absolute().parent}; make it first")
    return kind


def draw(personas: Personas, file: Path) -> None:
    """Draw the personas into the file; the same personas make the same picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kind = file_kind(file)
    names, roles = list(personas.names), [each.role for each in personas.inputs]
    sizes = [each.size for each in personas.personas]
    centres = np.array([each.centre for each in personas.personas])
    figure = Figure(figsize=(9, 1.4 + 0.45 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))

    places = np.arange(len(names))
    bars = left.barh(places, sizes, color="#4477aa")
    left.bar_label(bars, [f"{size:,}" for size in sizes], padding=3)
    left.set_yticks(places, names)
    left.invert_yaxis()
    left.margins(x=0.15)
    left.set_xlabel("users")

    image = right.imshow(centres, cmap="RdBu_r", vmin=-_MOST_DEVIATIONS, vmax=_MOST_DEVIATIONS, aspect="auto")
    right.set_xticks(range(len(roles)), roles)
    right.set_yticks(places, [""] * len(names))
    figure.colorbar(image, ax=right, label="standard deviations from the mean")
    figure.suptitle(personas.personas_id)
    with mpl.rc_context({"svg.hashsalt": personas.personas_id}):
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
