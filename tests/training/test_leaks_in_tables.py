"""The future is found where it would lie: in the change-point tables that training joins, by the command itself."""

import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from behavior.event import DAY_US
from deployment.bundles import DEFAULT_TARGET, Bundles
from deployment.plan_file import load_plan
from deployment.settings import load
from opportune.command import run
from opportune.warehouse import events_of, local_midnight
from tests.shop import enter, prepare
from training.dataset import codes_of, vectors
from training.leakage import refuse_leaks
from training.sampling import training_rows
from training.store import open_store
from training.targets import target_named
from training.train import RECIPE, freeze_vocabularies, inputs_of

UNTIL = "2024-04-28"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the shop's history and its tables, as backfill made them."""
    home = tmp_path_factory.mktemp("a shop")
    prepare(home)
    return home


@pytest.fixture
def home(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    shutil.copytree(prepared, tmp_path / "home")
    enter(tmp_path / "home", monkeypatch)
    return tmp_path / "home"


def test_tables_that_backfill_made_pass(home: Path) -> None:
    """Rows joined from honest tables are bit for bit what events say; else the refusal below would prove nothing."""
    settings = load()
    plan, store, target = load_plan(settings.plan), open_store(settings), target_named(DEFAULT_TARGET)
    until = local_midnight(UNTIL, settings)
    with events_of(settings) as con:
        rows = training_rows(con, target, until=until, zone=settings.zone, recipe=RECIPE)
        inputs = inputs_of(store, target)
        codes = {name: codes_of(texts) for name, texts in freeze_vocabularies(plan, inputs, rows).items()}
        x = vectors(store, plan, inputs, rows, codes, settings.zone).x
        assert len(rows) > 1000
        refuse_leaks(con, plan, inputs, rows, x, codes=codes, seed=1)


@pytest.mark.parametrize("view", ["user_activity", "user_category", "category_activity"])
def test_tables_that_know_the_next_day_are_refused(home: Path, view: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Planted: every row of one table holds a day too early. The command names the view's input and makes no bundle."""
    assert _made_known_early(load().tables / view, DAY_US) > 0
    capsys.readouterr()
    assert run(["train", "--until", UNTIL]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"\b{view}:\w+ is \S+ in the tables at \S+, and \S+ by the events that were known then", told)
    assert Bundles.of(load()).current_id() is None


def _made_known_early(table: Path, by_us: int) -> int:
    """Let each row of the table's parts and tail hold from so much earlier on; how many rows there are."""
    rows = 0
    for file in [*table.glob("part-*"), *table.glob("tail-*")]:
        told = pq.ParquetFile(file).read()
        place = told.schema.get_field_index("ts")
        early = pc.subtract(told["ts"], pa.scalar(by_us, pa.duration("us"))).cast(told.schema.field("ts").type)
        pq.write_table(told.set_column(place, told.schema.field("ts"), early), file)
        rows += told.num_rows
    return rows
