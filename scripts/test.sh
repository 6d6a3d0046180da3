#!/usr/bin/env bash
# Everything that has to hold: a virtual environment, the package with all extras, style, types, tests.
#   bash scripts/test.sh            the whole of it (about 5 minutes of installation the first time)
#   bash scripts/test.sh -k space   further words go to pytest
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

source scripts/environment.sh "all,dev"
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/python -m pytest -n 2 -q "$@"
