#!/usr/bin/env bash
# Shows the log of the run: of worker 0, of another worker, or of all of them.
#
#   tpu/logs.sh [--slice S] [--worker W | --all] [--lines N] [--follow] [--dry-run]

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

slice=0 worker=0 lines=50 all=0 follow=0
while (($#)); do
  case $1 in
    --slice | --worker | --lines)
      declare "${1#--}=$(number "$1" "${2:-}")"
      shift
      ;;
    --all) all=1 ;;
    --follow) follow=1 ;;
    *) common_argument "$1" ;;
  esac
  shift
done
check_settings
if ((all && follow)); then die "$REFUSED" "--follow shows one worker, so it cannot stand beside --all."; fi

if ((follow)); then
  ask "$slice" "$worker" follow "$lines"
elif ((all)); then
  read_condition
  need_ready_pod
  survey report run "$lines"
  for at in "${!NAMES[@]}"; do
    printf '== %s: %s\n' "${NAMES[at]}" "${FATES[at]}"
    tail -n +2 "${ANSWERS[at]}"
  done
else
  ask "$slice" "$worker" report run "$lines"
fi
