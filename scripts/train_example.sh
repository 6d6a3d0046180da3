#!/usr/bin/env bash
# Everything behind zoo/NAME and results/NAME.md, from nothing: the gallery encoder, three seeds of the query encoder and
# of the free encoder, the table, the release. Minutes on a GPU; hours on two CPU cores. Each training resumes where it
# was stopped.
#   bash scripts/train_example.sh           FashionMNIST
#   bash scripts/train_example.sh emoji     concepts that no training has seen, searched across drawing styles
set -euo pipefail
cd "$(dirname "$0")/.."
name="${1:-fashion-mnist}"
source scripts/environment.sh "all"
PATH="$PWD/.venv/bin:$PATH"

configs="configs/$name"
hetsearch data fetch "$name"
case "$name" in
  fashion-mnist) hetsearch train gallery "$configs/gallery-first.yaml" --out runs/fashion-mnist-first ;;
  emoji) python scripts/fetch_efficientnet_lite0.py ;;
esac
hetsearch train gallery "$configs/gallery.yaml" --out "runs/$name"
for seed in 0 1 2; do
  hetsearch train query "$configs/query.yaml" --space "runs/$name" --out "runs/$name-query-$seed" --seed $seed
  hetsearch train gallery "$configs/free.yaml" --out "runs/$name-free-$seed" --seed $seed
done
python scripts/make_example.py "$name"
