#!/usr/bin/env bash
# Benchmarks. Usage: tests/bench/run.sh [compression|serve|release|os|preload|flash|all]     as root
# Results go to standard output as Markdown tables, and to build/bench/NAME.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "run this as root: loop devices, mounts and an engine are needed"; exit 1; }
case "${1:-all}" in
  compression | serve | release | os | preload | flash) wanted=("$1") ;;
  all) wanted=(compression serve release os preload flash) ;;
  *) sed -n '2,3s/^# //p' "$0"; exit 2 ;;
esac
mkdir -p build/bench
tests/setup.sh all
cmake --preset dev > build/bench/configure.log
cmake --build --preset dev --target serve_bench bundle-tool offline-updater-agent > build/bench/build.log
for name in "${wanted[@]}"; do
  program=(tests/bench/bench.py "$name")
  case "$name" in os | preload | flash) program=("tests/bench/${name}_bench.py") ;; esac
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/lab:tests/device:tests/integration/image \
    BUNDLE_TOOL="$PWD/build/dev/bundle-tool/bundle-tool" OU_BUILD_DIR="$PWD/build/dev" \
    OU_LAB_BIG_BYTES=${OU_BENCH_BYTES:-629145600} /usr/bin/python3 "${program[@]}" | tee "build/bench/$name.md"
done
