#!/usr/bin/env bash
# A `gcloud` for the tests: records its arguments and plays a pod whose workers are folders of this machine.
#
# The folder $CLOUD holds the world:
#   calls                  the arguments of every call
#   machines               how many workers a slice has
#   arrivals               the states that a new request goes through, one for each look at it
#   request/               the queued resource: states, initiator, slices; absent when there is none
#   homes/SLICE-WORKER/    the home of each worker; commands that come by ssh run there
#   gone/                  homes of machines that were deleted
#   faults/create          the error message of `create`
#   faults/describe        the error message of `describe`
#   faults/failed          why a request that is FAILED failed
#   faults/ssh-S-W         a word of the ssh commands that do not reach this worker (an empty file: none does)
#   faults/unprepared      a multi-worker command leaves a slice out, as the real one does: with a warning and exit 0
#   faults/preempt         a word of the ssh command during which the pod is taken away

set -euo pipefail
shopt -s nullglob

ARGUMENTS=("$@")
REQUEST=$CLOUD/request
calls=$(printf '%s\037' "$@")
printf '%s\036' "$calls" >>"$CLOUD/calls"

fail() { # fail CODE MESSAGE
  echo "$2" >&2
  exit "$1"
}

flag() { # flag NAME: the value of --NAME=...
  local argument
  for argument in "${ARGUMENTS[@]}"; do
    if [[ $argument == "--$1="* ]]; then echo "${argument#*=}"; fi
  done
}

fault() { # fault NAME [COMMAND]: whether it is there, and is in the command
  [[ -e $CLOUD/faults/$1 && ${2:-} == *"$(<"$CLOUD/faults/$1")"* ]]
}

set_states() { # set_states STATE...: at once, since others may be reading
  echo "$@" >"$REQUEST/states.$$"
  mv "$REQUEST/states.$$" "$REQUEST/states"
}

need_request() {
  [[ -d $REQUEST ]] || fail 1 "ERROR: (gcloud.compute.tpus.queued-resources) NOT_FOUND: Resource was not found."
  read -ra STATES <"$REQUEST/states"
}

create() {
  local slices slice worker
  if [[ -e $CLOUD/faults/create ]]; then fail 1 "$(<"$CLOUD/faults/create")"; fi
  if [[ -d $REQUEST ]]; then fail 1 "ERROR: (create) ALREADY_EXISTS: Resource already exists"; fi
  slices=$(flag node-count)
  slices=${slices:-1}
  mkdir "$REQUEST"
  cp "$CLOUD/arrivals" "$REQUEST/states"
  echo SERVICE >"$REQUEST/initiator"
  echo "$slices" >"$REQUEST/slices"
  for ((slice = 0; slice < slices; slice++)); do
    for ((worker = 0; worker < $(<"$CLOUD/machines"); worker++)); do mkdir "$CLOUD/homes/$slice-$worker"; done
  done
}

describe() {
  if [[ -e $CLOUD/faults/describe ]]; then fail 1 "$(<"$CLOUD/faults/describe")"; fi
  need_request
  if [[ $(flag format) == *failedData* ]]; then
    cat "$CLOUD/faults/failed"
    return
  fi
  printf '%s\t%s\n' "${STATES[0]}" "$(<"$REQUEST/initiator")"
  if ((${#STATES[@]} > 1)); then set_states "${STATES[@]:1}"; fi
}

delete() {
  local home
  need_request
  [[ " ${ARGUMENTS[*]} " == *" --force --quiet "* ]] || fail 1 "ERROR: it would ask"
  rm -r "$REQUEST"
  for home in "$CLOUD"/homes/*; do mv "$home" "$CLOUD/gone/$(date +%s%N)"; done
}

list_slices() {
  local name state slice
  need_request
  name=$(flag filter)
  name=${name#queuedResource~/}
  state=READY
  if [[ ${STATES[0]} != ACTIVE || -e $REQUEST/slices_preempted ]]; then state=PREEMPTED; fi
  for ((slice = 0; slice < $(<"$REQUEST/slices"); slice++)); do
    printf '%s-%s\t%s\t%s\n' "${name%$}" "$slice" "$state" "$(<"$CLOUD/machines")"
  done
}

on_each() { # on_each COMMAND FUNCTION: each chosen worker at once; the exit code of the last that failed
  local home worker code=0 homes=() processes=()
  if fault preempt "$1"; then
    rm "$CLOUD/faults/preempt"
    set_states SUSPENDED
  fi
  need_request
  if fault unprepared && [[ $(flag worker) == all ]]; then
    echo "WARNING: Could not prepare all 1 nodes, attempting to ssh into the rest." >&2
    return
  fi
  for home in "$CLOUD"/homes/*; do
    worker=${home##*/}
    if [[ $(flag node) != all && $(flag node) != "${worker%-*}" ]]; then continue; fi
    if [[ $(flag worker) != all && $(flag worker) != "${worker#*-}" ]]; then continue; fi
    homes+=("${worker#*-}")
    if [[ ${STATES[0]} != ACTIVE ]] || fault "ssh-$worker" "$1"; then
      (fail 255 "ssh: connect to host of worker ${worker#*-} port 22: Connection timed out") &
    else
      (HOME=$home "$2" "$1") &
    fi
    processes+=($!)
  done
  for worker in "${!processes[@]}"; do
    if ! wait "${processes[worker]}"; then
      wait "${processes[worker]}" || code=$?
      echo "##### Command execution on worker ${homes[worker]} failed with exit status $code." >&2
    fi
  done
  return "$code"
}

ssh_to() {
  cd "$HOME"
  PATH=$CLOUD/bin:$PATH exec bash -c "$1" </dev/null
}

scp_to() {
  local words=() destination
  for word in "${ARGUMENTS[@]:4}"; do
    if [[ $word != --* ]]; then words+=("$word"); fi
  done
  destination=${words[-1]#*:}
  unset 'words[-1]'
  cp "${words[@]}" "$HOME/$destination"
}

case "$3 $4" in
  "queued-resources create") create ;;
  "queued-resources describe") describe ;;
  "queued-resources delete") delete ;;
  "queued-resources ssh") on_each "$(flag command)" ssh_to ;;
  "queued-resources scp") on_each "$*" scp_to ;;
  "tpu-vm list") list_slices ;;
  "tpu-vm accelerator-types") echo "$6" ;;
  *) fail 2 "ERROR: unknown: $*" ;;
esac
