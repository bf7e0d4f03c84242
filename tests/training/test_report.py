"""Reports: one page that needs nothing else, the same for the same input, and that shows what it was given."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest

from behavior.calibration import Calibration
from behavior.distribution import REFERENCE_FILE, counted, describe, encode
from behavior.errors import BadInput
from behavior.manifest import TEXT_FILE, Input, Manifest, Span
from tests.training.measured_rows import measured, noisy
from tests.training.models import NAMES, model, sample
from training import report as room
from training.changes import changes
from training.evaluation import evaluate
from training.measuring import Answers
from training.report import Current, ReportInput, render, report_of

OLDER = Manifest(
    bundle_id="purchase_7d-20170901-00000000", target="purchase_7d", entity="user_category",
    created="2017-09-01T00:00:00+00:00", features=tuple(Input(name, "0") for name in NAMES[:-1]),
    zone="America/New_York", trained=Span(1_488_690_000_000_000, 1_506_312_000_000_000), rows={"train": 12_000},
    metrics={}, export_difference=2.4e-7, versions={"lightgbm": "4.7.0"}, files={},
)  # fmt: skip
MANIFEST = msgspec.structs.replace(
    OLDER,
    bundle_id="purchase_7d-20170925-0123abcd",
    features=(Input(NAMES[0], "1"), *(Input(name, "0") for name in NAMES[1:])),
    rows={"train": 13_000},
    calibration=Calibration(0.9, -0.25),
)


def given() -> ReportInput:
    """A small model, its rows, and a current bundle on the same rows."""
    rows, current = measured(noisy(0.4), users=90), measured(noisy(1.0, seed=8), users=90)
    x, label, _ = sample(600, 5)
    reference = describe(sample(2_000, 6)[0], NAMES, {NAMES[1]})
    return ReportInput(
        manifest=MANIFEST, booster_text=model().model_to_string(), question="will <this> user buy & when?", x=x,
        label=label, measured=rows, reference=reference, test=counted(reference, x + 1, NAMES),
        measured_on="Measured at two Sundays:",
        evaluation=evaluate(
            rows.user, rows.group, rows.label, {"purchase_7d": rows.propensity, "noise": rows.propensity[::-1]},
            propensities=["purchase_7d"], replicates=20,
        ),
        current=Current(OLDER, model().model_to_string().replace("[learning_rate: 0.05]", "[learning_rate: 0.3]"),
                        current),
        revision="abc1234", replicates=20,
    )  # fmt: skip


@cache
def page() -> str:
    return render(given())


class _Names(HTMLParser):
    """Every tag with its attributes, and that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> _Names:
    names = _Names()
    names.feed(text)
    assert not names.open
    return names


def test_the_page_needs_nothing_else() -> None:
    """No script, style sheet, font, link or image from elsewhere; every reference is to the page itself."""
    text, names = page(), read(page())
    assert not re.search(r"https?:|[\"'(]//|@import|@font-face|<script|<link|<iframe", text)
    ids = [value for _, attributes in names.tags for key, value in attributes.items() if key == "id"]
    assert len(ids) == len(set(ids))
    for tag, attributes in names.tags:
        for key, value in attributes.items():
            assert value is not None or key == "open"
            if key in ("href", "src") and value and not value.startswith("data:image/png"):
                assert value.removeprefix("#") in ids, (tag, value)
            for wanted in re.findall(r"url\((.*?)\)", value or ""):
                assert wanted.removeprefix("#") in ids


def test_equal_input_gives_equal_bytes() -> None:
    """Twice the same report is twice the same page."""
    assert render(given()) == render(given()) == page()


def test_every_section_tells_what_was_given() -> None:
    """The bundle, its span in its zone, metrics, baselines, slices, drift and changes stand in the page."""
    text = page()
    for word in (
        MANIFEST.bundle_id, "2017-03-05 00:00 to 2017-09-25 00:00", "train 13,000", "abc1234", "lightgbm 4.7.0",
        "Measured at two Sundays:", "purchase_7d − noise", "persona Loyal", "not judged: 80 rows of at least 1000",
        "0.9000 × margin −0.2500", OLDER.bundle_id, "learning_rate", "TreeSHAP of 600 test rows",
    ):  # fmt: skip
        assert word in text, word
    auc = given().evaluation.scores[0].metrics["auc"]  # type: ignore[union-attr]
    assert text.count(f"{auc.value:.4f}") >= 3  # the tile, beside the baselines, and in the slices
    assert text.count('role="img"') == 5 + len(NAMES)


def test_texts_are_escaped_and_colours_are_the_page_s() -> None:
    """Words from outside cannot become tags, and no figure brings a colour that only one background can bear."""
    assert "will &lt;this&gt; user buy &amp; when?" in page()
    assert "<this>" not in page()
    for stand_in in ("#010203", "#040506", "#070809", "#0a0b0c", "#000000"):
        assert stand_in not in page()
    assert "prefers-color-scheme: dark" in page()


def test_a_report_can_do_without() -> None:
    """Without a current bundle, baselines, distributions, calibration and slices, the page says so and stands."""
    rows = given().measured
    bare = replace(
        given(), current=None, evaluation=None, reference={}, test={}, revision="",
        manifest=msgspec.structs.replace(MANIFEST, calibration=None),
        measured=replace(rows, slices={}),
    )  # fmt: skip
    text = render(bare)
    read(text)
    for word in ("no current bundle", "tell no slices", "No distributions", "not calibrated", "unknown"):
        assert word in text
    assert "Beside what anybody" not in text


def test_many_rows_are_thinned_by_users_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, all rows of some users stand for all, the same ones for both bundles."""
    monkeypatch.setattr(room, "MOST_ROWS", 2_000)
    text = render(given())
    told = re.search(r"([\d,]+) rows of (\d+) users.*drawn at random from 3,600 measured rows", text)
    assert told
    assert int(told[1].replace(",", "")) == 40 * int(told[2])
    assert 1_000 < int(told[1].replace(",", "")) < 3_000


def test_changes_are_read_from_manifests_and_models() -> None:
    """Inputs that came, went or are defined otherwise; rows, trees and parameters that differ, and no others."""
    text = model().model_to_string()
    found = changes(OLDER, text.replace("[learning_rate: 0.05]", "[learning_rate: 0.3]"), MANIFEST, text)
    assert (found.added, found.removed, found.changed) == ((NAMES[-1],), (), (NAMES[0],))
    assert found.parameters == (("rows train", "12,000", "13,000"), ("learning_rate", "0.3", "0.05"))
    back = changes(MANIFEST, text, OLDER, text)
    assert (back.added, back.removed) == ((), (NAMES[-1],))


def test_the_input_is_made_of_a_bundle_as_read() -> None:
    """Model text, reference distributions and the sample become the report's input; test rows use the same bins."""
    good = given()
    files = {TEXT_FILE: good.booster_text.encode(), REFERENCE_FILE: encode(good.reference)}
    answers = Answers(good.measured, good.x, good.label, good.measured.margin)
    made = report_of(MANIFEST, files, answers, question=good.question)
    assert made.booster_text == good.booster_text
    assert made.reference == good.reference
    assert made.test == counted(good.reference, good.x, NAMES)
    assert report_of(MANIFEST, {TEXT_FILE: b""}, answers, question="").reference == {}


def test_what_cannot_be_reported_is_refused() -> None:
    """A sample of another width, labels of another number, labels all equal, and a current bundle on other rows."""
    good = given()
    one_class = replace(good.measured, label=np.zeros(len(good.measured), np.uint8))
    other = Current(OLDER, good.booster_text, measured(noisy(1.0), seed=3, users=90))
    for bad in (
        replace(good, x=good.x[:, :3]),
        replace(good, label=good.label[:5]),
        replace(good, x=good.x[:0], label=good.label[:0]),
        replace(good, measured=one_class, current=None),
        replace(good, current=other),
    ):
        with pytest.raises(BadInput):
            render(bad)
