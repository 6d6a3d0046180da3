#!/usr/bin/env bash
# The main job on real data, on a fresh machine: makes .venv, installs, gets FashionMNIST, runs it.
#   bash scripts/quickstart.sh                  about a quarter of an hour on two cores, installation included
#   bash scripts/quickstart.sh --from-scratch   trains the gallery encoder too: hours on a CPU, minutes on a GPU
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/environment.sh "all"
exec .venv/bin/hetsearch quickstart "$@"
