#!/usr/bin/env bash
# A Chromium for the browser tests: one on PATH; else Debian's package, as root; else Playwright's own download.
# Where none can be had the tests are skipped, and say why.
set -u
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$name" > /dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "Installing Chromium for the browser tests"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } > /dev/null 2>&1 && exit 0
fi
timeout 300 .venv/bin/playwright install chromium > /dev/null 2>&1 || echo "No Chromium can be had here: browser tests will be skipped."
exit 0
