"""Events of reactions: a file that says what it is, is the same wherever it is made, and can be imported whole."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from deployment.archive import Archive
from deployment.pseudonym import Pseudonyms, make_key
from tests.training.simulation.worlds import first_days, small
from training.importing import import_files
from training.mapping import load_mapping
from training.mapping_form import EventMapping
from training.simulation.events import EventFile
from training.simulation.parameters import Parameters
from training.simulation.policies import popular
from training.simulation.running import Trace, run
from training.simulation.world import World

ROOT = Path(__file__).parents[3]
# Made once, from the first three days of a small world; another number means other worlds for the same seeds.
DIGEST = "98c44e737ce1f7e149d71c8315afcfec5fbfc2d7be068ad540aa94cccf9e2c69"
_MAKE = """
import sys
from pathlib import Path
from tests.training.simulation.test_events import written
written(Path(sys.argv[1]))
"""


def written(file: Path, world: World | None = None, days: int = 3) -> tuple[World, Trace]:
    """The events of a small world that sees what is popular."""
    world = world or small(seed=11)
    policy, hear = popular(world)
    with EventFile(world, file) as events:

        def both(*told: object) -> None:
            events.hear(*told)  # type: ignore[arg-type]
            hear(*told)  # type: ignore[misc, arg-type]

        trace = run(world, policy, first_days(world, days), hear=both)
    assert events.written == trace.events.sum()
    return world, trace


def digest(file: Path) -> str:
    """A digest of what the rows say, however they are packed."""
    return hashlib.sha256(msgspec.json.encode(pq.read_table(file).to_pylist())).hexdigest()


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    """Byte by byte in processes whose hashes differ, and other events for another seed."""
    made = []
    for hashes in ("0", "1"):
        file = tmp_path / hashes / "events.parquet"
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
        subprocess.run([sys.executable, "-c", _MAKE, str(file)], env=environment, check=True)
        made.append(file.read_bytes())
    assert made[0] == made[1]
    written(tmp_path / "other.parquet", small(seed=12))
    assert digest(tmp_path / "other.parquet") != digest(tmp_path / "0" / "events.parquet")


def test_the_events_are_those_that_they_always_were(tmp_path: Path) -> None:
    """What a seed means is written down: the digest is the same in every version and on every machine."""
    written(tmp_path / "events.parquet")
    assert digest(tmp_path / "events.parquet") == DIGEST


def test_a_file_says_that_it_is_simulated(tmp_path: Path) -> None:
    """In its metadata with the seed and all parameters, in every user id, and in the mapping's source."""
    world, _ = written(tmp_path / "events.parquet")
    about = pq.read_schema(tmp_path / "events.parquet").metadata
    assert (about[b"simulated"], about[b"seed"]) == (b"true", b"11")
    assert msgspec.json.decode(about[b"parameters"], type=Parameters) == world.parameters
    users = pq.read_table(tmp_path / "events.parquet")["user_id"].to_pylist()
    assert {user.rpartition("-")[0] for user in users} == {"simulated-11"}
    assert load_mapping(tmp_path / "events.toml", EventMapping).source == "simulated, seed 11"


@pytest.mark.parametrize("kind", ["category", "item"])
def test_a_file_is_imported_whole(tmp_path: Path, kind: str) -> None:
    """Every event is accepted with what it says: kinds as in the trace, local offsets, items, amounts, session."""
    _, trace = written(tmp_path / "events.parquet", small(kind=kind, click=0.0), days=10)
    make_key(tmp_path / "key")
    archive = Archive(tmp_path / "archive", 4)
    report = import_files(
        [tmp_path / "events.parquet"], load_mapping(tmp_path / "events.toml", EventMapping), archive=archive,
        pseudonyms=Pseudonyms.load(tmp_path / "key"), base_currency="USD",
    )  # fmt: skip
    assert (report.received, report.accepted) == (trace.events.sum(), trace.events.sum())
    rows = [row for number in range(4) for row in archive.read(number).to_pylist()]
    kinds = Counter(row["kind"] for row in rows)
    assert kinds == {
        "impression": (trace.shown >= 0).sum(), "click": trace.clicked.sum(), "add_to_cart": trace.added.sum(),
        "purchase": trace.bought.sum(),
    }  # fmt: skip
    assert {row["source"] for row in rows} == {"simulated, seed 1"}
    assert {row["utc_offset_s"] for row in rows} <= {-18_000, 3_600, 32_400}
    for row in rows:
        assert row["session_id"]
        assert row["device"] in ("phone", "desktop")
        assert (row["item"] is None) == (row["kind"] == "impression" and kind == "category")
        assert row["item"] is None or row["item"].startswith(row["category"])
        assert (row["value"] is not None) == (row["kind"] == "purchase")


def test_what_is_not_finished_is_not_there(tmp_path: Path) -> None:
    """A policy that fails, or Ctrl-C, leaves neither a file nor a part of one."""
    with pytest.raises(KeyboardInterrupt), EventFile(small(), tmp_path / "events.parquet"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
