"""The wire format: generated code is current, every field says what it is, and nothing that is released breaks."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from tests.scoring.wire_contract import broken, current, lines

ROOT = Path(__file__).parents[2]
PROTO = "scoring/v1/scoring.proto"
# Written at a release: see wire_contract.py.
GOLDEN = ROOT / "tests" / "golden" / "scoring_v1.txt"


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    """`make proto` would change nothing."""
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protos'}", *outputs, PROTO]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = sorted((tmp_path / "scoring" / "v1").iterdir())
    assert len(made) == 3
    for path in made:
        committed = ROOT / "src" / "scoring" / "v1" / path.name
        assert committed.read_text() == path.read_text(), f"{path.name} is not current; run `make proto`"


def test_enums_begin_with_unspecified() -> None:
    """The value 0 of every enum is UNSPECIFIED, so that an absent field is never a choice."""
    bodies = re.findall(r"enum \w+ \{(.*?)\}", (ROOT / "protos" / PROTO).read_text(), flags=re.DOTALL)
    assert len(bodies) == 3
    for body in bodies:
        assert re.search(r"\w+_UNSPECIFIED = 0;", body)


def test_every_field_is_documented_by_name_with_its_default(tmp_path: Path) -> None:
    """A field's comment begins with its name and says the default, or that the field must be or always is given."""
    undocumented = [
        path for path, comment in comments(tmp_path).items()
        if not re.match(rf"{path.rpartition('.')[2]}\b", comment)
        or not re.search(r"\b[Dd]efault\b|must be given|[Aa]lways", comment)
    ]  # fmt: skip
    assert undocumented == []


def comments(directory: Path) -> dict[str, str]:
    """The comment above every field, by `message.field`; a field of a oneof counts with the oneof's comment."""
    output = directory / "described.pb"
    command = [
        sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protos'}", "--include_source_info",
        f"--descriptor_set_out={output}", PROTO,
    ]  # fmt: skip
    assert subprocess.run(command).returncode == 0
    file = FileDescriptorSet.FromString(output.read_bytes()).file[0]
    above = {tuple(each.path): each.leading_comments.strip() for each in file.source_code_info.location}
    found: dict[str, str] = {}
    for i, message in enumerate(file.message_type):
        for j, field in enumerate(message.field):
            comment = above.get((4, i, 2, j), "")
            if field.HasField("oneof_index") and not field.proto3_optional:
                shared = above.get((4, i, 8, field.oneof_index), "")
                found[f"{message.name}.{message.oneof_decl[field.oneof_index].name}"] = shared
                comment += f" Default: see {message.oneof_decl[field.oneof_index].name}."
            found[f"{message.name}.{field.name}"] = comment
    return found


def test_what_is_released_still_holds() -> None:
    """Nothing that a compiled client relies on is removed, renumbered, renamed or retyped; additions are free."""
    assert broken(GOLDEN.read_text().splitlines(), lines(current())) == []


def test_a_field_that_is_added_breaks_nothing() -> None:
    """Messages, fields, methods and enum values may grow."""
    file = current()
    file.message_type[0].field.add(name="more", number=900, type=FieldDescriptorProto.TYPE_STRING)
    file.message_type.add(name="New").field.add(name="x", number=1, type=FieldDescriptorProto.TYPE_STRING)
    file.enum_type[0].value.add(name="CANDIDATE_KIND_MORE", number=900)
    assert broken(GOLDEN.read_text().splitlines(), lines(file)) == []


def _of(file: FileDescriptorProto, message: str, field: str) -> FieldDescriptorProto:
    found = next(each for each in file.message_type if each.name == message)
    return next(each for each in found.field if each.name == field)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda file: _of(file, "Ranked", "score").ClearField("number"), "Ranked 3"),
        (lambda file: setattr(_of(file, "Event", "item"), "number", 900), "Event 6"),
        (lambda file: setattr(_of(file, "Ranked", "score"), "type", FieldDescriptorProto.TYPE_FLOAT), "double score"),
        (lambda file: setattr(_of(file, "Event", "item"), "name", "thing"), "has become"),
        (lambda file: setattr(_of(file, "ScoreRequest", "candidates"), "label", 1), "repeated"),
        (lambda file: setattr(_of(file, "Moment", "zone"), "oneof_index", 1), "of offset"),
        (lambda file: setattr(_of(file, "Event", "kind"), "oneof_index", 0), "string kind"),
        (lambda file: setattr(file.enum_type[0].value[1], "number", 7), "CANDIDATE_KIND_ITEM"),
        (lambda file: file.message_type.pop(), "is gone"),
        (lambda file: file.service[0].method.pop(0), "rpc Scoring.Score"),
        (lambda file: setattr(file.service[0].method[0], "server_streaming", True), "stream out"),
        (lambda file: setattr(file, "package", "scoring.v2"), "package"),
    ],
)
def test_what_would_break_a_client_is_refused(change: Callable[[FileDescriptorProto], object], names: str) -> None:
    """Each kind of breakage is told, with what was released and what to do."""
    file = current()
    if names == "of offset":
        next(each for each in file.message_type if each.name == "Moment").oneof_decl.add(name="other")
    change(file)
    sentences = broken(GOLDEN.read_text().splitlines(), lines(file))
    assert sentences
    assert any(names in each for each in sentences)
    assert all("restore it" in each for each in sentences)
