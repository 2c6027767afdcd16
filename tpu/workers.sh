# Sourced by env.sh: one command on all workers, and which of them did not manage it.
# shellcheck shell=bash

NAMES=() FATES=() ENDS=() ANSWERS=()
read -ra SSH_FLAGS <<<"$POD_SSH_FLAGS"

copy() { # copy DESTINATION FILE...: to every worker, into its home
  local destination=$1
  shift
  on_all scp "$@" "$POD_NAME:$destination"
}

everywhere() { # everywhere ACTION [ARGUMENT...]: an action of worker.sh, on every worker at once
  local reached
  if ((DRY_RUN)); then
    on_all ssh "$POD_NAME" "--command=$(quoted bash worker.sh "$@")"
    return
  fi
  say "$1 ..."
  on_all ssh "$POD_NAME" "--command=$(quoted bash worker.sh "$@")" >"$SCRATCH/said" || return
  # gcloud leaves out a slice that it could not prepare and still ends with 0, so each worker answers for itself.
  reached=$(grep -c "^laminate: $1 done$" "$SCRATCH/said" || true)
  say "$1: $reached of $WORKERS workers"
  ((reached == WORKERS))
}

on_all() { # on_all ssh|scp ARGUMENT...
  tpus queued-resources "$@" --node=all --worker=all "${SSH_FLAGS[@]}" 2>"$SCRATCH/gcloud" || return
  if grep -q '^WARNING: Could not prepare all' "$SCRATCH/gcloud"; then
    say "gcloud left a slice out. Is the key in the ssh agent? tpu/env.sh checks it."
    return 1
  fi
}

ask() { # ask SLICE WORKER ACTION...: an action of worker.sh, on one worker
  local slice=$1 worker=$2
  shift 2
  # Without the two flags, ssh waits for hours for a machine that is gone.
  tpus queued-resources ssh "$POD_NAME" "--node=$slice" "--worker=$worker" "${SSH_FLAGS[@]}" \
    --ssh-flag=-oServerAliveInterval=15 --ssh-flag=-oServerAliveCountMax=4 \
    "--command=$(quoted bash worker.sh "$@")"
}

# Asks each worker. In their order: NAMES; FATES (`exit N`, `running`, `stopped`, `unfinished`, `absent`, `no answer`);
# ENDS, when that came about; ANSWERS, files whose lines after the first are the last ones of the worker's log.
survey() { # survey ACTION...: an action that answers `TIME FATE` and lines of a log
  local slice worker at pids=()
  NAMES=() FATES=() ENDS=() ANSWERS=()
  if ((DRY_RUN)); then
    note "and so every worker of every slice:"
    ask 0 0 "$@"
    return
  fi
  for slice in "${!SLICES[@]}"; do
    for ((worker = 0; worker < MACHINES[slice]; worker++)); do
      at=${#NAMES[@]}
      NAMES+=("slice $slice worker $worker") ANSWERS+=("$SCRATCH/answer-$at")
      ask "$slice" "$worker" "$@" >"$SCRATCH/answer-$at" 2>"$SCRATCH/errors-$at" &
      pids+=($!)
      if ((${#pids[@]} % 16 == 0)); then wait; fi # so many connections at a time
    done
  done
  for at in "${!pids[@]}"; do
    if wait "${pids[at]}"; then
      read_fate <"${ANSWERS[at]}"
    else
      FATES+=("no answer") ENDS+=(0)
      cat <(echo) "$SCRATCH/errors-$at" >"${ANSWERS[at]}"
    fi
  done
}

read_fate() {
  local time fate
  read -r time fate || true
  FATES+=("${fate:-no answer}") ENDS+=("${time:-0}")
}

blame() { # blame WHAT: names the workers of the last survey that failed, the first to fail first, and their last lines
  local at order shown=0
  order=$(for at in "${!NAMES[@]}"; do
    if [[ ${FATES[at]} != "exit 0" ]]; then echo "${ENDS[at]} $at"; fi
  done | sort -n | cut -d ' ' -f 2)
  if [[ -z $order ]]; then
    say "$1 failed, and no worker says why. The last lines of gcloud:"
    tail -n 20 "$SCRATCH/gcloud" | sed 's/^/    /' >&2
  fi
  for at in $order; do
    say "${NAMES[at]}: $1: ${FATES[at]}"
    if ((shown < 3)); then tail -n +2 "${ANSWERS[at]}" | tail -n 20 | sed 's/^/    /' >&2; fi
    shown=$((shown + 1))
  done
}

# Surveys until the fate of every worker is plain, or POD_SETTLE is over. A machine that is taken away stops its
# training, or stops answering, before gcloud knows of it.
settle() { # settle ACTION...: PREEMPTED if the pod was taken away, FAILED if somebody deleted it, else 0
  local deadline=$((SECONDS + POD_SETTLE))
  while :; do
    read_condition
    if [[ $CONDITION == preempted ]]; then
      say "$POD_NAME was preempted ($FOUND)."
      return "$PREEMPTED"
    elif [[ $CONDITION == deleted ]]; then
      say "$POD_NAME was deleted."
      return "$FAILED"
    fi
    survey "$@"
    if ((DRY_RUN)) || settled || ((SECONDS >= deadline)); then return 0; fi
    sleep "$POD_POLL"
  done
}

settled() {
  local fate
  for fate in "${FATES[@]}"; do
    case $fate in
      "no answer" | stopped | unfinished) return 1 ;;
      running) if [[ ${FATES[0]} != running ]]; then return 1; fi ;;
    esac
  done
}

trouble() { # trouble WHAT ACTION...: after a step that failed; PREEMPTED, or FAILED once the workers are named
  local what=$1
  shift
  settle "$@" || return
  blame "$what"
  return "$FAILED"
}
