#!/bin/sh
# The example sites in real Chromium, over a whole seedpress: tests/browser/run.sh
# Programs come from $SEEDPRESS_BUILD, else build. Prints TAP. Screenshots of every page, on a desk
# and on a phone, light and dark, are left in BUILD/browser for a person to look at.
set -eu
cd "$(dirname "$0")/../.."
build=${SEEDPRESS_BUILD:-build}

command -v chromium >/dev/null || {
    echo "browser: chromium is missing: deploy/packages.sh test installs it" >&2
    exit 1
}
tests/npm.sh "$build/browser" tests/browser
exec node --test-reporter=tap tests/browser/check.mjs "$build/browser"
