"""What is different between two bundles of one target, read from their manifests and model texts."""

import re
from dataclasses import dataclass

from behavior.manifest import Manifest

_PARAMETER = re.compile(r"^\[(\w+): (.*)\]$", re.MULTILINE)
# What LightGBM writes down of the run, not of the model. Its other seeds (*_seed) all follow from `seed`.
_OF_THE_RUN = frozenset({"num_threads", "machines", "machine_list_filename", "data", "valid", "output_model"})


@dataclass(frozen=True, slots=True)
class Changes:
    """From an older bundle to a newer one.

    added, removed   inputs of one of them only
    changed          inputs of both whose definition is another (its fingerprint)
    parameters       (name, older, newer) of LightGBM's parameters, training span, rows and versions that differ
    """

    older: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    parameters: tuple[tuple[str, str, str], ...]


def changes(older: Manifest, older_text: str, newer: Manifest, newer_text: str) -> Changes:
    """What is different in the newer one; texts are those of model.txt."""
    before = {each.ref: each.fingerprint for each in older.features}
    after = {each.ref: each.fingerprint for each in newer.features}
    told = [(_facts(older) | _parameters(older_text)), (_facts(newer) | _parameters(newer_text))]
    return Changes(
        older=older.bundle_id,
        added=tuple(ref for ref in after if ref not in before),
        removed=tuple(ref for ref in before if ref not in after),
        changed=tuple(ref for ref in after if ref in before and after[ref] != before[ref]),
        parameters=tuple(
            (name, told[0].get(name, "–"), told[1].get(name, "–"))
            for name in dict.fromkeys([*told[1], *told[0]])
            if told[0].get(name) != told[1].get(name)
        ),
    )


def _parameters(text: str) -> dict[str, str]:
    """LightGBM's parameters as it wrote them at the end of the model, and how many trees there are."""
    found = {
        name: value
        for name, value in _PARAMETER.findall(text)
        if name not in _OF_THE_RUN and not name.endswith("_seed")
    }
    return {"trees": str(len(re.findall(r"^Tree=\d+$", text, re.MULTILINE)))} | found


def _facts(manifest: Manifest) -> dict[str, str]:
    rows = {f"rows {name}": f"{count:,}" for name, count in manifest.rows.items()}
    return rows | {f"version of {name}": version for name, version in manifest.versions.items()}
