#!/usr/bin/env bash
# Makes a fresh Debian 12 into Dagster's host, and a running one into the host of another commit.
# Runs as root at every boot; doing it again changes nothing that is right already.
set -euo pipefail

readonly home=/opt/mmt_assets
readonly code=$home/code
readonly dagster_home=$home/dagster
readonly user=mmt

attribute() { # attribute NAME: one value of the instance's metadata
  curl --silent --fail --retry 5 --retry-connrefused --header "Metadata-Flavor: Google" \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

secret() { # secret NAME: the latest version of a secret, never written to a disk
  gcloud secrets versions access latest --secret="$1"
}

optional_secret() { # optional_secret NAME: the same, or nothing while it has no version
  local answer
  if answer=$(secret "$1" 2>&1); then
    printf '%s' "$answer"
  elif [[ $answer != *NOT_FOUND* ]]; then
    echo "$answer" >&2
    return 1
  fi
}

install_packages() {
  command -v python3.11 git make >/dev/null && python3.11 -c "import venv, ensurepip" 2>/dev/null && return
  apt-get update --quiet
  apt-get install --quiet --yes --no-install-recommends python3.11 python3.11-venv git make
}

install_ops_agent() {
  systemctl is-enabled google-cloud-ops-agent --quiet 2>/dev/null && return
  curl --silent --fail --show-error --output /root/add-ops-agent.sh \
    https://dl.google.com/cloudagents/add-google-cloud-ops-agent-repo.sh
  bash /root/add-ops-agent.sh --also-install
}

hand_log_to_ops_agent() {
  cat >/etc/google-cloud-ops-agent/config.yaml <<YAML
logging:
  receivers:
    mmt_assets:
      type: files
      include_paths: [$dagster_home/logs/*.jsonl]
  processors:
    mmt_assets_json:
      type: parse_json
      time_key: time
      time_format: "%Y-%m-%dT%H:%M:%SZ"
    mmt_assets_labels:
      type: modify_fields
      fields:
        severity: {move_from: jsonPayload.severity}
        labels."product": {static_value: mmt-assets}
        labels."run_id": {copy_from: jsonPayload.run_id}
  service:
    pipelines:
      mmt_assets:
        receivers: [mmt_assets]
        processors: [mmt_assets_json, mmt_assets_labels]
YAML
  # The oldest lines are in Cloud Logging: the disk keeps two files.
  cat >/etc/logrotate.d/mmt_assets <<ROTATE
$dagster_home/logs/*.jsonl {
  size 100M
  rotate 1
  missingok
  notifempty
  nocreate
  su $user $user
}
ROTATE
  systemctl restart google-cloud-ops-agent
}

check_out() { # check_out URL SHA: exactly that commit, or nothing
  [[ $2 =~ ^[0-9a-f]{40}$ ]] || { echo "git-ref must be a full commit SHA, got '$2'" >&2; exit 1; }
  [[ -d $code/.git ]] || sudo -u "$user" git clone --quiet --no-checkout "$1" "$code"
  sudo -u "$user" git -C "$code" fetch --quiet origin "$2"
  sudo -u "$user" git -C "$code" checkout --quiet --detach "$2"
  sudo -u "$user" make -C "$code" .venv/installed
}

write_settings() { # on tmpfs: secrets are gone with the power
  local password channels
  password=$(secret mmt-dagster-database-password)
  channels=$(optional_secret mmt-notify-urls)
  install --directory --owner="$user" --mode=700 /run/mmt
  (
    umask 077
    attribute settings
    echo "MMT_FAN_HASH_KEY=$(secret mmt-fan-hash-key)"
    [[ -z $channels ]] || echo "MMT_NOTIFY_URLS=$channels"
    echo "DAGSTER_HOME=$dagster_home"
    echo "DAGSTER_POSTGRES_URL=postgresql+psycopg2://dagster:$password@$(attribute settings |
      sed -n 's/^DAGSTER_POSTGRES_HOST=//p')/dagster?sslmode=require"
  ) >/run/mmt/environment
  chown "$user" /run/mmt/environment
  install --directory --owner="$user" "$dagster_home"
  attribute dagster-yaml >"$dagster_home/dagster.yaml"
  attribute workspace-yaml >"$dagster_home/workspace.yaml"
}

service() { # service NAME COMMAND...: a systemd unit that is always up
  local name=$1
  shift
  cat >"/etc/systemd/system/$name.service" <<UNIT
[Unit]
Description=$name
After=network-online.target
Wants=network-online.target

[Service]
User=$user
WorkingDirectory=$code
EnvironmentFile=/run/mmt/environment
ExecStart=$code/.venv/bin/$*
Restart=always
RestartSec=5
# Runs are children of the code server: they get time to say goodbye.
TimeoutStopSec=90
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=$home /tmp
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
}

main() {
  install_packages
  install_ops_agent
  hand_log_to_ops_agent
  id "$user" >/dev/null 2>&1 || useradd --system --create-home --home-dir "$home" --shell /usr/sbin/nologin "$user"
  install --directory --owner="$user" "$home"
  check_out "$(attribute git-url)" "$(attribute git-ref)"
  write_settings
  service dagster-code dagster code-server start --host 127.0.0.1 --port 4000 --module-name mmt_assets.definitions
  service dagster-daemon dagster-daemon run --workspace "$dagster_home/workspace.yaml"
  # Only the load balancer reaches these ports (front_door.tf, network.tf).
  service dagster-webserver dagster-webserver --host 0.0.0.0 --port 3000 --workspace "$dagster_home/workspace.yaml"
  service dagster-viewers dagster-webserver --read-only --host 0.0.0.0 --port 3001 \
    --workspace "$dagster_home/workspace.yaml"
  systemctl daemon-reload
  # Storage is initialised once, by one process: several at the same time can fail.
  sudo -u "$user" bash -c "set -a; . /run/mmt/environment; cd '$code'; .venv/bin/dagster instance migrate"
  for unit in dagster-code dagster-daemon dagster-webserver dagster-viewers; do
    systemctl enable --quiet "$unit"
    systemctl restart "$unit"
  done
}

main "$@"
