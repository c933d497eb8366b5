#!/usr/bin/env bash
# Runs the fuzz targets of build/fuzz, each for SECONDS from the same first inputs with the same seed.
# Usage: tests/fuzz/run.sh [SECONDS [TARGET...]]      inputs that fail stay in build/fuzz/found
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
shift || true
targets=("$@")
[ $# -gt 0 ] || targets=(fuzz_ext_file_system fuzz_partition_table fuzz_tar_reader fuzz_tar_split)
work=build/fuzz/corpus
rm -rf "$work"
mkdir -p "$work" build/fuzz/found
tests/fuzz/make_corpus.py "$work"
for target in "${targets[@]}"; do
  echo "== $target for $seconds s"
  "build/fuzz/tests/fuzz/$target" "$work/$target" -seed=1 -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
    -max_len=1100000 -artifact_prefix="build/fuzz/found/$target-" -print_final_stats=1 -verbosity=1 2>&1 |
    grep -vE '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse)|NEW_FUNC|^"|Recommended dictionary' || { echo "$target found something: build/fuzz/found"; exit 1; }
done
