#!/usr/bin/env bash
# Everything behind zoo/fashion-mnist and results/fashion-mnist.md, from nothing: the gallery encoder, three seeds of the
# query encoder and of the free encoder, the table, the release. Minutes on a GPU; hours on two CPU cores. Each training
# resumes where it was stopped.
#   bash scripts/train_example.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh "all"
PATH="$PWD/.venv/bin:$PATH"

configs=configs/fashion-mnist
hetsearch data fetch fashion-mnist
hetsearch train gallery $configs/gallery-first.yaml --out runs/fashion-mnist-first
hetsearch train gallery $configs/gallery.yaml --out runs/fashion-mnist
for seed in 0 1 2; do
  hetsearch train query $configs/query.yaml --space runs/fashion-mnist --out runs/fashion-mnist-query-$seed --seed $seed
  hetsearch train gallery $configs/free.yaml --out runs/fashion-mnist-free-$seed --seed $seed
done
python scripts/make_example.py
