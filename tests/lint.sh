#!/usr/bin/env bash
# clang and clang-tidy over everything that ships; any finding is an error. Usage: tests/lint.sh [JOBS]
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset lint > /dev/null
find lib agent bundle-tool -name '*.cpp' -print0 | sort -z |
  xargs -0 -n 4 -P "${1:-$(nproc)}" clang-tidy-14 --quiet -p build/lint 2> >(grep -vE '^[0-9]+ warnings? generated\.$|^Suppressed' >&2)
echo "lint: no findings"
