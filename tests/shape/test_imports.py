"""The shape of the house: who imports whom, who reads the environment, and that no name is somebody else's."""

import ast
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
SETTINGS = SOURCE / "deployment" / "settings.py"
PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
# What reads or writes the environment, as attributes of `os`; `os.environ` itself first of all.
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def lint(config: Path, source: Path) -> "subprocess.CompletedProcess[str]":
    """Run import-linter on the packages under `source`."""
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", script, str(config)], cwd=source, capture_output=True, text=True, env={"PYTHONPATH": ""}
    )


def test_the_import_contracts_are_kept() -> None:
    """Layers, independence and the places of feast, lightgbm, river and grpc are as design 3 has them."""
    done = lint(ROOT / "pyproject.toml", SOURCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS['contracts'])} kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("room", "statement"),
    [
        ("behavior/new.py", "import deployment"),
        ("behavior/new.py", "import time"),
        ("training/new.py", "import scoring"),
        ("scoring/new.py", "import feast"),
        ("scoring/new.py", "def later():\n    import training"),
        ("training/new.py", "import lightgbm"),
        ("opportune/new.py", "from river import linear_model"),
        ("deployment/new.py", "import grpc"),
    ],
)
def test_the_contracts_have_teeth(room: str, statement: str, tmp_path: Path) -> None:
    """Each kind of forbidden import, put into an otherwise empty house, breaks a contract."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "scoring" / "v1").mkdir()
    (tmp_path / "scoring" / "v1" / "__init__.py").touch()
    assert lint(ROOT / "pyproject.toml", tmp_path).returncode == 0
    (tmp_path / room).write_text(statement + "\n")
    assert lint(ROOT / "pyproject.toml", tmp_path).returncode == 1


def test_every_package_has_its_place() -> None:
    """A new package under src/ must be given a layer, and stands in the root packages."""
    layers = next(contract["layers"] for contract in CONTRACTS["contracts"] if contract["id"] == "layers")
    placed = sorted(name.strip() for layer in layers for name in layer.split("|"))
    directories = sorted(path.name for path in SOURCE.iterdir() if any(path.glob("**/*.py")))
    assert directories == PACKAGES == placed == sorted(CONTRACTS["root_packages"])


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """Line numbers at which a module touches the environment, however it imports it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and isinstance(node.value, ast.Name):
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "posix"}:
            yield from (node.lineno for alias in node.names if alias.name in ENVIRONMENT)
        if isinstance(node, ast.Import):
            yield from (node.lineno for alias in node.names if alias.name == "os" and alias.asname)


def test_only_the_settings_read_the_environment() -> None:
    """One module knows environment variables; everything else gets a settings object."""
    found = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in SOURCE.rglob("*.py")
        for line in environment_reads(ast.parse(path.read_bytes()))
        if path != SETTINGS
    }
    assert found == set()
    assert list(environment_reads(ast.parse(SETTINGS.read_bytes()))), "the search finds nothing even where it is"


@pytest.mark.parametrize(
    "code", ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ", "import os as system"]
)
def test_the_search_finds_every_way_to_the_environment(code: str) -> None:
    """The check above sees attributes, names that were imported, and `os` under another name."""
    assert list(environment_reads(ast.parse(code)))


def is_taken(name: str) -> bool:
    """Whether the standard library or an installed package provides this top-level name."""
    if name in sys.stdlib_module_names:
        return True
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    spec = PathFinder.find_spec(name, sorted(paths))
    return spec is not None


def test_our_names_are_nobody_elses() -> None:
    """No package of ours and no file of feature_repo/ shares a name with an installed one.

    Feast imports the files by bare name, after installed packages: a clash applies an empty repository, which
    deletes everything that was registered and exits with 0.
    """
    names = [*PACKAGES, *(path.stem for path in (ROOT / "feature_repo").glob("*.py"))]
    assert [name for name in names if is_taken(name)] == []
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["feast", "numpy", "types", "redis"])
def test_a_clash_would_be_seen(name: str) -> None:
    """The check above does see installed packages and modules of the standard library."""
    assert is_taken(name)
