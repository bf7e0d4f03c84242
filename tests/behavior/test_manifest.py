"""The manifest refuses every bundle that is not what was written."""

from hashlib import sha256

import msgspec
import pytest

from behavior.calibration import Calibration
from behavior.errors import BundleRefused
from behavior.manifest import (
    FILES,
    Input,
    Manifest,
    Span,
    check_features,
    check_files,
    decode,
    encode,
    is_bundle_id,
    sealed,
)

CONTENT = {name: name.encode() for name in FILES}


def manifest() -> Manifest:
    draft = Manifest(
        target="purchase_7d",
        entity="user_category",
        created="2017-09-25T04:00:00+00:00",
        features=(Input("user_activity:purchases_7d", "aa"), Input("moment:hour"), Input("candidate:category")),
        zone="America/New_York",
        trained=Span(1, 2),
        rows={"train": 10, "valid": 5},
        metrics={"scores": {"model": {"auc": {"value": 0.8, "low": 0.79, "high": None}}}},
        export_difference=2e-6,
        versions={"numpy": "2"},
        files={name: sha256(data).hexdigest() for name, data in CONTENT.items()},
        calibration=Calibration(0.9, -0.1),
        git_revision="0123abcd",
        least_known_share=0.25,
    )
    return sealed(draft)


def test_a_manifest_reads_back_equal() -> None:
    """Encoding and decoding change nothing, and the id names target and date."""
    assert decode(encode(manifest())) == manifest()
    assert manifest().bundle_id.startswith("purchase_7d-20170925-")
    assert is_bundle_id(manifest().bundle_id)


@pytest.mark.parametrize("field", [name for name in Manifest.__struct_fields__ if name != "bundle_id"])
def test_no_field_can_be_changed_unnoticed(field: str) -> None:
    """A manifest with any one field changed is refused: the id covers all of it."""
    values = msgspec.to_builtins(manifest())
    changed = {int: lambda v: v + 1, str: lambda v: v + "x", float: lambda v: v * 2, bool: lambda v: not v}
    value = values[field]
    if field == "calibration":
        values[field] = {"slope": 0.9, "intercept": -0.2}
    elif isinstance(value, dict):
        values[field] = dict(list(value.items())[1:]) if field != "trained" else {"start_us": 1, "end_us": 3}
    else:
        values[field] = value[1:] if isinstance(value, list | tuple) else changed[type(value)](value)
    with pytest.raises(BundleRefused):
        decode(msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", encode(manifest())[:-10], encode(manifest()).replace(b'"zone"', b'"zome"')]
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    """Broken, truncated and unknown content ends in one sentence, not in a traceback of the parser."""
    with pytest.raises(BundleRefused, match="cannot be read"):
        decode(data)


@pytest.mark.parametrize(
    "text", ["../x-20170925-0123abcd", "a/b-20170925-0123abcd", "a-20170925-0123abcd\n", "", "current"]
)
def test_an_id_is_a_plain_name(text: str) -> None:
    """No id leads out of the directory of bundles."""
    assert not is_bundle_id(text)


def test_the_very_files_are_accepted() -> None:
    """The files that were hashed pass."""
    check_files(manifest(), CONTENT)


@pytest.mark.parametrize("name", FILES)
def test_every_single_bit_of_every_file_counts(name: str) -> None:
    """One flipped bit anywhere is refused, and the file is named."""
    for bit in range(8 * len(CONTENT[name])):
        data = bytearray(CONTENT[name])
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleRefused, match=name):
            check_files(manifest(), CONTENT | {name: bytes(data)})


def test_missing_and_unlisted_files_are_refused() -> None:
    """A bundle has exactly its files."""
    with pytest.raises(BundleRefused, match=r"model\.txt missing"):
        check_files(manifest(), {name: data for name, data in CONTENT.items() if name != "model.txt"})
    with pytest.raises(BundleRefused, match=r"more\.bin not in its manifest"):
        check_files(manifest(), CONTENT | {"more.bin": b""})
    short = msgspec.structs.replace(manifest(), files={})
    with pytest.raises(BundleRefused):
        check_files(short, CONTENT)
    with pytest.raises(BundleRefused):
        check_files(short, {})


def test_features_must_be_in_the_plan_with_equal_fingerprints() -> None:
    """Other features may change; those of the model may not, and what the request brings is not asked of the plan."""
    check_features(manifest(), {"user_activity:purchases_7d": "aa", "other:feature": "bb"})
    with pytest.raises(BundleRefused, match="lacks user_activity:purchases_7d"):
        check_features(manifest(), {"other:feature": "bb"})
    with pytest.raises(BundleRefused, match="defines otherwise user_activity:purchases_7d"):
        check_features(manifest(), {"user_activity:purchases_7d": "ab"})


def test_one_flipped_bit_of_the_file_is_refused() -> None:
    """Any bit, those of white space and of the last newline too: there is one way to write a manifest."""
    data = encode(manifest())
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BundleRefused):
            decode(bytes(changed))


def test_the_content_is_the_same_on_another_day() -> None:
    """The same data makes the same content whenever it was trained; anything else in it makes another."""
    later = sealed(msgspec.structs.replace(manifest(), created="2017-09-26T04:00:00+00:00"))
    other = sealed(msgspec.structs.replace(manifest(), rows={"train": 11}))
    assert later.content == manifest().content != other.content
    assert later.bundle_id != manifest().bundle_id


def test_what_is_sealed_reads_back_whatever_its_numbers_are() -> None:
    """A whole number where a fraction belongs, and a metric that is not a number, are written as they will be read."""
    draft = msgspec.structs.replace(manifest(), export_difference=0, metrics={"auc": float("nan"), "n": (1, 2)})
    assert decode(encode(sealed(draft))).metrics == {"auc": None, "n": [1, 2]}


def test_another_format_is_named() -> None:
    """A bundle of format 1 is refused with what to do, whatever else is in it."""
    with pytest.raises(BundleRefused, match="format 1 is not 2; train"):
        decode(b'{"format": 1, "calibrated": false}')
