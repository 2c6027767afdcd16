#!/usr/bin/env bash
# Shows the state of the pod and, for every worker, how the run goes and its newest line. Again and again until Ctrl-C.
#
#   tpu/watch.sh [--once] [--dry-run]

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

once=0
for argument in "$@"; do
  case $argument in
    --once) once=1 ;;
    *) common_argument "$argument" ;;
  esac
done
check_settings

show() {
  local at
  read_condition
  ((DRY_RUN)) || printf '%s  %s: %s\n' "$(date +%H:%M:%S)" "$POD_NAME" "$FOUND"
  if [[ $CONDITION != ready ]]; then return; fi
  survey report run 1
  for at in "${!NAMES[@]}"; do
    printf '  %-20s %-10s %s\n' "${NAMES[at]}" "${FATES[at]}" "$(tail -n +2 "${ANSWERS[at]}" | tail -n 1)"
  done
}

if ((once)); then
  show
  exit
fi
note "every $POD_POLL s:"
while :; do
  show
  if ((DRY_RUN)); then break; fi
  sleep "$POD_POLL"
done
