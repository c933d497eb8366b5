#!/usr/bin/env bash
# The main job, shown: packages, build, then a lab device takes release 2 from a stick, keeps its data, and goes back
# from a release 3 that crashes. Needs root, on Debian 12. The last line is PASS or FAIL. Usage: tests/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "run this as root: loop devices, mounts and an engine are needed"; exit 1; }
log=build/logs
mkdir -p "$log"

# quietly WHAT COMMAND...: its output goes to a file, and to the screen when it fails.
quietly() {
  local what=$1 name=${1%% *}
  shift
  echo "== $what (log: $log/demo-$name.log)"
  "$@" > "$log/demo-$name.log" 2>&1 || { tail -n 40 "$log/demo-$name.log"; echo "FAIL: $what"; exit 1; }
}

quietly "packages" tests/setup.sh all
quietly "configure the build" cmake --preset dev
quietly "build both programs" cmake --build --preset dev --target bundle-tool offline-updater-agent
exec env PYTHONDONTWRITEBYTECODE=1 OU_BUILD_DIR="$PWD/build/dev" /usr/bin/python3 tests/lab/demo.py
