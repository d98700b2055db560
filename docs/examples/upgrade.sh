#!/usr/bin/env bash
# An upgrade with nobody at a terminal: image, shadows, checks, switch and watch; with --clean also the end of the old version.
#   upgrade.sh FARM.yaml [--clean]
# IMAGE, when set, is pulled first, by the policy of the store. DATABASES are those that the new version needs expanded. RESULTS is where the evidence goes; ./results by default.
# Ends as the command that failed: 3 a gate was closed, 4 a check failed, 1 the new version was led back from, or something
# else failed. It can be run again after any of them: what is so already is left alone.
set -euo pipefail
farm="$1"
clean="${2:-}"
results="${RESULTS:-results}"
mkdir -p "$results"

keep_audit() { doppel farm status "$farm" --audit "$results/audit.md" >"$results/status.txt"; }
trap keep_audit EXIT

[ -z "${IMAGE:-}" ] || doppel pull "$IMAGE"
doppel farm plan "$farm"
doppel farm provision "$farm"
if [ -n "${DATABASES:-}" ]; then doppel farm databases copy "$farm"; fi
for database in ${DATABASES:-}; do
  doppel farm databases expand "$farm" "$database"
done
for database in ${DATABASES:-}; do
  doppel farm databases point "$farm" "$database" --to live
done
doppel farm check "$farm" --junit "$results/checks.xml"
# Comes back once the new version has been watched: with 0, or after it has led users back by itself.
doppel farm switch "$farm" --json >"$results/switch.json"
if [ "$clean" = --clean ]; then
  doppel farm clean "$farm" --yes
fi
