# Sourced by the other scripts: makes .venv once and brings it up to date. $1 is the list of extras.
extras="$1"
python="${PYTHON:-python3}"
"$python" - <<'PYTHON' || { echo "hetsearch needs Python 3.11 or newer; name one with PYTHON=…" >&2; exit 2; }
import sys
sys.exit(sys.version_info < (3, 11))
PYTHON
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=".venv/.installed-$(cat pyproject.toml - <<<"$extras" | cksum | cut -d' ' -f1)"
if [ ! -f "$stamp" ]; then
  echo "installing hetsearch[$extras] into .venv (a few minutes the first time) …" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
  touch "$stamp"
fi
