#!/usr/bin/env bash
# Gives the pod back: its machines and their disks. What the run wrote to gs:// stays.
#
#   tpu/delete.sh [--yes] [--dry-run]

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

yes=0
for argument in "$@"; do
  case $argument in
    --yes) yes=1 ;;
    *) common_argument "$argument" ;;
  esac
done
check_settings

read_request
if [[ $REQUEST == ABSENT ]]; then
  say "There is no pod $POD_NAME in $POD_ZONE."
  exit 0
fi
if ! ((yes || DRY_RUN)); then
  [[ -t 0 ]] || die "$REFUSED" "Nobody is there to ask: tpu/delete.sh --yes deletes $POD_NAME ($REQUEST)."
  read -r -p "Delete $POD_NAME ($REQUEST) and the disks of its machines? [y/N] " answer
  [[ $answer == [yY]* ]] || die "$REFUSED" "$POD_NAME stays."
fi
tpus queued-resources delete "$POD_NAME" --force --quiet
((DRY_RUN)) || say "$POD_NAME is deleted."
