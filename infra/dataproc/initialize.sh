#!/usr/bin/env bash
# Initialisation action of a Dataproc cluster that forecasts: the pinned commit and its locked environment on each node.
#
# Metadata of the cluster that it reads: git-url, git-ref (full SHA). Spark then runs /opt/mmt_assets/.venv/bin/python.
set -euo pipefail

readonly code=/opt/mmt_assets

attribute() { # attribute NAME: one value of the instance's metadata
  curl --silent --fail --retry 5 --retry-connrefused --header "Metadata-Flavor: Google" \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

main() {
  local ref
  ref=$(attribute git-ref)
  [[ $ref =~ ^[0-9a-f]{40}$ ]] || { echo "git-ref must be a full commit SHA, got '$ref'" >&2; exit 1; }
  command -v python3.11 git >/dev/null ||
    { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends python3.11 python3.11-venv git; }
  git init --quiet "$code"
  git -C "$code" fetch --quiet --depth=1 "$(attribute git-url)" "$ref"
  git -C "$code" checkout --quiet --detach "$ref"
  python3.11 -m venv "$code/.venv"
  "$code/.venv/bin/pip" install --quiet --require-hashes -r "$code/requirements-installer.lock"
  "$code/.venv/bin/uv" pip install --quiet --python "$code/.venv/bin/python" --require-hashes -r "$code/requirements.lock"
  echo "$code" >"$code/.venv/lib/python3.11/site-packages/mmt_assets.pth"
  # Compiled once on each node, for all executors.
  "$code/.venv/bin/python" -c "from mmt_assets.forecasting.prophet_map import compile_kernels; compile_kernels()"
  chmod -R a+rX "$code"
}

main
