"""The wire format: the generated code is that of the proto, and every field says what it is."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTO = "scoring/v1/scoring.proto"


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
