"""Compiles the Cython parts of the request path: `src/**/*.pyx`, each beside its source, into `src/` itself.

They are optional: where there is no C compiler nothing is compiled, and the numpy beside each part serves. Runs when a
wheel is built, when the project is installed in place, and by hand: `python hatch_build.py`.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
# Floats must be those of numpy, bit for bit: no fused multiply-add, no reordering.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-fast-math"]


def compile_parts(root: Path) -> list[Path]:
    """What was compiled, or still is as its source says; nothing on a machine that cannot compile."""
    if lacking := _lacking():
        print(f"{lacking}: numpy alone answers requests, several times slower", file=sys.stderr)
        return []
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    source = root / "src"
    names = {".".join(each.relative_to(source).with_suffix("").parts): each for each in sorted(source.rglob("*.pyx"))}
    parts = [Extension(name, [str(each.relative_to(root))], extra_compile_args=FLAGS) for name, each in names.items()]
    former = Path.cwd()
    os.chdir(root)  # what is written into the binaries must not name this directory
    try:
        made = cythonize(parts, build_dir="build/cython", language_level=3, quiet=True)
        command = build_ext(Distribution({"name": "opportune", "ext_modules": made, "package_dir": {"": "src"}}))
        command.inplace, command.build_temp = True, "build/temporary"
        command.finalize_options()
        command.run()
    finally:
        os.chdir(former)
    return [root / "src" / command.get_ext_filename(name) for name in names]


def _lacking() -> str:
    """What there is not on this machine that compiling needs; empty if all is there."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    headers = Path(sysconfig.get_path("include"))
    return "" if (headers / "Python.h").exists() else f"no headers of Python in {headers} (Debian: python3-dev)"


class CompiledParts(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled parts into the wheel, which then belongs to one kind of machine."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are collected."""
        made = compile_parts(Path(self.root))
        if made:
            build_data["pure_python"], build_data["infer_tag"] = False, True
            build_data["artifacts"] += [str(each.relative_to(self.root)) for each in made]


if __name__ == "__main__":
    compile_parts(ROOT)
