#!/bin/sh
# Types by tsc, behaviour by node --test. Installs the pinned compiler the first time.
set -eu
cd "$(dirname "$0")"

command -v node >/dev/null || { echo "The editor's tests need Node.js 20 or newer; found none." >&2; exit 1; }
if [ ! -x node_modules/.bin/tsc ]; then
  npm ci --no-audit --no-fund --silent || {
    echo "The TypeScript compiler could not be installed. Connect to the npm registry once, or copy node_modules here." >&2
    exit 1
  }
fi
node_modules/.bin/tsc --project .
echo "types: no complaint"
node --test --test-reporter=spec ./*.test.mjs
