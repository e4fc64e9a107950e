#!/usr/bin/env bash
# The analysis server's whole life: the pinned commit, the locked environment, one run's work, power off.
#
# Runs as root at each boot of a Debian 12 machine, as its metadata's startup-script. It may also be run by hand on one
# to see what it does; anywhere else it refuses. Attributes of the instance that it reads:
#
#   dagster-run-id           the run; without one the machine was booted by hand and is left alone
#   dagster-session          one start of the worker for it, where there may be several; default: the run
#   dagster-module           module to run; default mmt_assets.worker
#   dagster-max-seconds      longest time that the worker may take; default six hours
#   dagster-pipes-context, dagster-pipes-messages   for the worker, as Dagster Pipes has them
#   git-url, git-ref         repository and full SHA of the commit
#   vm-events-topic          projects/P/topics/T that hears vm.finished; default: nobody
#   idle-seconds             the worker is ended after using no processor for that long; default half an hour
#   enable-ops-agent         TRUE: install Google's Ops Agent where it is missing; where it is, it gets our log
#
# What it says: the guest attributes dagster/phase-SESSION (boot, checkout, install, work, done, refused, preempted,
# stopped) and dagster/exit-SESSION (the worker's exit code or one of those below; none when the machine was ended from
# outside), JSON lines with the run's id on the serial port and in /var/log/mmt_assets, and a message.
#
# A disk that is kept, or an image that was prepared, saves the installation: an environment of the commit's lock in
# environments/SHA256-OF-REQUIREMENTS.LOCK that carries the file `installed` is used as it is.
set -euo pipefail

readonly REFUSED=70 CHECKOUT_FAILED=71 INSTALL_FAILED=72 NO_METADATA=73 IDLE=74 TIMED_OUT=124
# ANALYSIS_SERVER_ROOT puts everything below another folder than /, GCE_METADATA_HOST is Google's own variable.
readonly root=${ANALYSIS_SERVER_ROOT:-}
readonly home=$root/opt/mmt_assets
readonly code=$home/code
readonly log_file=$root/var/log/mmt_assets/startup.jsonl
readonly metadata=http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1
# The serial port, also where standard output is something else.
exec 3>&1
run='' session='' module='' max_seconds='' url='' ref='' topic='' idle_seconds='' marks='' environment='' worker='' is_ended_from_outside=''

log() { # log SEVERITY MESSAGE [SOURCE]: one JSON line
  local text=$2
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//[[:cntrl:]]/ }
  TZ=UTC printf '{"time":"%(%Y-%m-%dT%H:%M:%SZ)T","severity":"%s","run_id":"%s","source":"%s","message":"%s"}\n' \
    -1 "$1" "$run" "${3:-startup}" "$text" | tee -a "$log_file" >&3
}

log_lines() { # log_lines SOURCE: what comes in, line by line; a line that is JSON already stays as it is
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    if [[ $line == '{'*'}' ]]; then
      printf '%s\n' "$line" | tee -a "$log_file" >&3
    else
      log INFO "$line" "$1"
    fi
  done
}

fail() { # fail CODE MESSAGE
  log ERROR "$2"
  exit "$1"
}

ask() { # ask PATH: a value of the metadata server; 1 when it has none, 2 when it does not answer
  local answer
  answer=$(curl --silent --max-time 10 --retry 8 --retry-connrefused --retry-max-time 60 --write-out '\n%{http_code}' \
    --header 'Metadata-Flavor: Google' "$metadata/$1") || return 2
  case ${answer##*$'\n'} in
    200) printf '%s' "${answer%$'\n'*}" ;;
    404) return 1 ;;
    *) return 2 ;;
  esac
}

attribute() { # attribute NAME [DEFAULT]
  local value status=0
  value=$(ask "instance/attributes/$1") || status=$?
  ((status < 2)) || fail "$NO_METADATA" "the metadata server does not answer"
  printf '%s' "${value:-${2-}}"
}

say() { # say KEY VALUE: a guest attribute
  curl --silent --fail --max-time 10 --retry 5 --retry-connrefused --request PUT --data "$2" \
    --header 'Metadata-Flavor: Google' "$metadata/instance/guest-attributes/dagster/$1-$session" >/dev/null ||
    log WARNING "the guest attribute $1-$session could not be written"
}

read_attributes() {
  run=$(attribute dagster-run-id)
  if [[ -z $run ]]; then
    log INFO "there is no dagster-run-id: booted by hand, left alone"
    trap - EXIT
    exit 0
  fi
  session=$(attribute dagster-session "$run")
  module=$(attribute dagster-module mmt_assets.worker)
  max_seconds=$(attribute dagster-max-seconds 21600)
  idle_seconds=$(attribute idle-seconds 1800)
  topic=$(attribute vm-events-topic)
  url=$(attribute git-url)
  ref=$(attribute git-ref)
  DAGSTER_PIPES_CONTEXT=$(attribute dagster-pipes-context)
  DAGSTER_PIPES_MESSAGES=$(attribute dagster-pipes-messages)
  export DAGSTER_PIPES_CONTEXT DAGSTER_PIPES_MESSAGES
}

claim() { # a session begins once, whether its machine was started again or its metadata is stale
  marks=$home/sessions/$session
  if ask "instance/guest-attributes/dagster/exit-$session" >/dev/null ||
    ask "instance/guest-attributes/dagster/phase-$session" >/dev/null || ! mkdir "$marks" 2>/dev/null; then
    marks=''
    fail "$REFUSED" "session $session has begun before: nothing is run again"
  fi
}

check_out() { # exactly that commit, or nothing
  [[ $ref =~ ^[0-9a-f]{40}$ ]] || fail "$CHECKOUT_FAILED" "git-ref must be a full commit SHA, got '$ref'"
  command -v git >/dev/null || install_packages git
  fetch_commit 2>&1 | log_lines git || fail "$CHECKOUT_FAILED" "commit $ref of '$url' could not be checked out"
}

fetch_commit() {
  { [[ -d $code/.git ]] || git init --quiet "$code"; } &&
    { git -C "$code" cat-file -e "$ref^{commit}" 2>/dev/null ||
      timeout 600 git -C "$code" fetch --quiet --depth=1 "$url" "$ref"; } &&
    git -C "$code" checkout --quiet --force --detach "$ref"
}

install_packages() { # install_packages NAME...: from Debian
  { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends "$@"; } 2>&1 | log_lines apt ||
    fail "$INSTALL_FAILED" "Debian's $* could not be installed"
}

prepare_environment() { # what the commit's lock says, by hash
  [[ -f $code/requirements.lock ]] || fail "$INSTALL_FAILED" "commit $ref has no requirements.lock"
  environment=$home/environments/$(sha256sum "$code/requirements.lock" | cut -d ' ' -f 1)
  [[ ! -e $environment/installed ]] || return 0
  python3.11 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3.11 python3.11-venv
  log INFO "installing $environment"
  install_environment 2>&1 | log_lines install || fail "$INSTALL_FAILED" "requirements.lock could not be installed"
}

install_environment() { # the stamp comes last, so that an interrupted installation is done again
  rm -rf "$environment" &&
    python3.11 -m venv "$environment" &&
    timeout 300 "$environment/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --require-hashes \
      -r "$code/requirements-installer.lock" &&
    timeout 1200 "$environment/bin/uv" pip install --quiet --no-cache --python "$environment/bin/python" \
      --require-hashes -r "$code/requirements.lock" &&
    PYTHONPATH=$code "$environment/bin/python" -c \
      'from mmt_assets.forecasting.prophet_map import compile_kernels; compile_kernels()' &&
    touch "$environment/installed"
}

install_ops_agent() {
  [[ ! -d $root/etc/google-cloud-ops-agent ]] || return 0
  curl --silent --fail --show-error --max-time 60 --output "$home/add-ops-agent.sh" \
    https://dl.google.com/cloudagents/add-google-cloud-ops-agent-repo.sh &&
    bash "$home/add-ops-agent.sh" --also-install
}

hand_log_to_ops_agent() {
  install_ops_agent && cat >"$root/etc/google-cloud-ops-agent/config.yaml" <<YAML && systemctl restart google-cloud-ops-agent
logging:
  receivers:
    mmt_assets:
      type: files
      include_paths: [/var/log/mmt_assets/*.jsonl]
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
}

work() { # the worker, bounded and watched
  local started=$SECONDS result=0 output logger
  cd "$code"
  exec {output}> >(log_lines worker)
  logger=$!
  # timeout gives the worker a process group of its own, with timeout's id.
  PYTHONPATH=$code timeout --kill-after=30 "$max_seconds" "$environment/bin/python" -u -m "$module" \
    >&"$output" 2>&1 {output}>&- &
  worker=$!
  watch_idle {output}>&- &
  watch_preemption {output}>&- &
  wait "$worker" || result=$?
  # A signal ends `wait`, not the worker.
  while kill -0 "$worker" 2>/dev/null; do
    result=0
    wait "$worker" || result=$?
  done
  # What it left behind would hold its output open.
  kill -KILL -- "-$worker" 2>/dev/null || true
  exec {output}>&-
  wait "$logger" || true
  worker=''
  [[ ! -e $marks/idle ]] || fail "$IDLE" "the worker used no processor for $idle_seconds s and was ended"
  ((SECONDS - started < max_seconds)) || fail "$TIMED_OUT" "the worker was ended after $max_seconds s"
  ((result == 0)) || fail "$result" "the worker ended with exit code $result"
}

watch_idle() { # ends a worker that does nothing: less than a hundredth of a processor over idle-seconds
  local used before=0 since=$SECONDS
  while kill -0 "$worker" 2>/dev/null; do
    used=$(ps -eo pgid=,cputimes= | awk -v group="$worker" '$1 == group { sum += $2 } END { print sum + 0 }')
    if ((used - before > idle_seconds / 100)); then
      before=$used since=$SECONDS
    elif ((SECONDS - since >= idle_seconds)); then
      touch "$marks/idle"
      end_worker
      return
    fi
    sleep $((idle_seconds / 20 + 1))
  done
}

watch_preemption() { # Spot: the notice comes with half a minute's grace
  until [[ $(ask instance/preempted) == TRUE ]]; do
    kill -0 "$worker" 2>/dev/null || return
    sleep 2
  done
  kill -TERM $$
}

end_worker() { # its group, or the process alone that is about to become one
  [[ -z $worker ]] || kill -TERM -- "-$worker" 2>/dev/null || kill -TERM "$worker" 2>/dev/null || true
}

stop() { # the operating system is going down
  is_ended_from_outside=yes
  end_worker
  [[ -n $worker ]] || exit 143
}

publish() { # publish EXIT
  [[ -n $topic ]] || return 0
  local service=https://pubsub.googleapis.com token zone name
  [[ -z ${PUBSUB_EMULATOR_HOST:-} ]] || service=http://$PUBSUB_EMULATOR_HOST
  token=$(ask instance/service-accounts/default/token | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
  zone=$(ask instance/zone) name=$(ask instance/name)
  # The token comes by a file that only this process has: a command line is for all to see.
  curl --silent --show-error --fail --max-time 10 --retry 4 --retry-connrefused --output /dev/null \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$token") --header 'Content-Type: application/json' \
    --data "{\"messages\":[{\"attributes\":{\"event\":\"vm.finished\",\"run_id\":\"$run\",\"zone\":\"${zone##*/}\",
\"instance\":\"$name\",\"exit\":\"$1\"}}]}" "$service/v1/$topic:publish" 2>&1 | log_lines publish ||
    log WARNING "vm.finished could not be published to $topic"
}

finish() { # whatever happened: say how it ended, then power off
  local result=$?
  trap '' TERM INT HUP
  trap - EXIT
  set +e
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null
  if [[ -z $session ]]; then
    log ERROR "ended with $result before the run was known"
  elif ((result == REFUSED)); then
    publish "$result"
  elif [[ -n $is_ended_from_outside ]] || ((result == 143)); then
    # No exit code: it was not the worker's end, and the run may try again elsewhere. A shutdown sends SIGTERM to all
    # processes at once, and the worker's end by it (143) may be seen before our own signal.
    log WARNING "the machine is being ended from outside"
    say phase "$([[ $(ask instance/preempted) == TRUE ]] && echo preempted || echo stopped)"
    publish 143
  else
    log INFO "ended with $result"
    say exit "$result"
    say phase 'done'
    publish "$result"
    # The serial port of a machine that is off cannot be read: a run that looks into a failure gets a moment for it.
    ((result == 0)) || sleep 2
  fi
  until poweroff || poweroff --force; do
    log ERROR "powering off failed, trying again"
    sleep 5
  done
}

main() {
  mkdir -p "$root/var/log/mmt_assets" "$home/environments" "$home/sessions"
  # Whatever else complains, bash itself included, becomes such a line too.
  exec 2> >(log_lines startup)
  trap finish EXIT
  trap stop TERM INT HUP
  read_attributes
  claim
  say phase boot
  if [[ -d $root/etc/google-cloud-ops-agent || $(attribute enable-ops-agent) == TRUE ]]; then
    # Beside the work: nothing waits for it, and nothing fails by it.
    { hand_log_to_ops_agent 2>&1 | log_lines ops-agent || log WARNING "the Ops Agent does not get this log"; } &
  fi
  say phase checkout
  check_out
  say phase install
  prepare_environment
  say phase work
  work
}

if [[ -z ${GCE_METADATA_HOST:-} && $(cat /sys/class/dmi/id/product_name 2>/dev/null) != 'Google Compute Engine' ]]; then
  echo "this is no Compute Engine machine: the script would power it off" >&2
  exit 1
fi
main
