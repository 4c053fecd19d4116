#!/bin/sh
# The tests of the Python client as TAP, for tests/run.sh: client/python/tests/run.sh [OPTION...]
# Programs come from $SEEDPRESS_BUILD; nothing is written into this folder.
set -eu
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -m pytest -q --tap "$@"
