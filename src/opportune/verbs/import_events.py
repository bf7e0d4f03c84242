"""`opportune import`: history into the archive."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.table import Table

from behavior.errors import BadInput
from deployment.pseudonym import Pseudonyms
from deployment.settings import load
from opportune.output import show
from opportune.progress import progress
from opportune.warehouse import archive_of


def import_events(
    *files: Path,
    mapping: str | None = None,
    items: Path | None = None,
    items_mapping: str | None = None,
    rejects: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Read events from CSV, Parquet or JSON lines of any shape into the archive, and a catalogue into its view.

    A mapping file says which column is what; two are shipped, `complete_journey` and `click_log` (start from a copy).
    Every record is accounted for: received = accepted + duplicate + rejected by reason + dropped for want of consent.
    Importing a file twice changes nothing: the second time, all are duplicates. All files and mappings are looked at
    before the first record is read; one import at a time, interrupted it leaves nothing behind.

    Parameters
    ----------
    files
        The files to read, all of the same shape.
    mapping
        Mapping file, or the name of a shipped one. docs/reference/mapping.md describes every key.
    items
        A catalogue: item, category, price, availability, valid from.
    items_mapping
        Mapping file of the catalogue, or the name of a shipped one, such as `complete_journey_items`.
    rejects
        Where to list rejected records with reason, file and line (.parquet or .jsonl). Default: rejects.parquet in
        the home. When events and a catalogue are imported together, the catalogue's are listed beside them, in
        rejects-items.parquet (`<stem>-items<suffix>` of the name given).
    as_json
        Print one JSON object instead of tables.
    """
    from training import accounting, catalogue
    from training.catalogue import import_items
    from training.importing import import_files
    from training.joining import check_files
    from training.mapping import CatalogueMapping, EventMapping, load_mapping

    settings = load()
    _refuse_wanting(files, mapping, items, items_mapping)
    # Everything that can be known beforehand is checked before anything is written.
    form = load_mapping(mapping, EventMapping) if files and mapping is not None else None
    items_form = load_mapping(items_mapping, CatalogueMapping) if items is not None and items_mapping else None
    if form is not None:
        check_files(files, form)
    if items is not None and items_form is not None:
        check_files([items], items_form)
    rejects = rejects or settings.home / "rejects.parquet"
    tables: list[Table] = []
    answers: dict[str, object] = {}
    with _terminable(), progress() as tell:
        if form is not None:
            report = import_files(
                files, form, archive=archive_of(settings), pseudonyms=Pseudonyms.load(settings.key_file),
                rejects=rejects, progress=tell, base_currency=settings.currency, memory_limit=settings.memory_limit,
                threads=settings.thread_count,
            )  # fmt: skip
            tables.append(accounting.render(report))
            answers["events"] = report
        if items is not None and items_form is not None:
            beside = rejects.with_name(f"{rejects.stem}-items{rejects.suffix}")
            listed = import_items(
                items, items_form, tables=settings.tables, rejects=rejects if form is None else beside, progress=tell,
                memory_limit=settings.memory_limit, threads=settings.thread_count,
            )  # fmt: skip
            tables.append(catalogue.render(listed))
            answers["items"] = listed
    show(Group(*tables), answers, as_json=as_json)


def _refuse_wanting(files: Sequence[Path], mapping: str | None, items: Path | None, items_mapping: str | None) -> None:
    if not files and items is None:
        raise BadInput("nothing to import; name event files with --mapping, or a catalogue with --items")
    if files and mapping is None:
        raise BadInput("event files need --mapping, a file or the name of a shipped one: complete_journey, click_log")
    if items is not None and items_mapping is None:
        raise BadInput("a catalogue needs --items-mapping, a file or the name of a shipped one: complete_journey_items")


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does: a process that it kills at once would leave its spill, with raw ids, on disk."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
