#!/bin/sh
# Makes .venv with exactly the hashed requirements and the project itself in it; does nothing when it is there already.
set -eu

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "opportune needs Python 3.11 or newer as python3; here it is: $(python3 --version 2>&1 || echo none)" >&2
    exit 1
}

# The directory counts too: an environment that was copied along with the tree points back to where it came from.
wanted=$(python3 -c 'import sys; print(sys.version)'; pwd -P; cksum requirements/dev.txt; sed -n "/^\[project/,/^# ---/p" pyproject.toml | cksum)
stamp=.venv/made-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "making .venv (once; a few minutes with downloads)"
python3 -m venv --clear .venv || {
    echo "python3 cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv" >&2
    exit 1
}
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input -q "$@"; }
pip install --require-hashes -r requirements/dev.txt
pip install --no-deps --no-build-isolation --no-index -e .
printf '%s\n' "$wanted" > "$stamp"
echo "made .venv"
