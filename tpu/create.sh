#!/usr/bin/env bash
# Asks for the pod and waits until it is there, or says why it cannot be had. Costs money from then on: tpu/delete.sh.
#
#   tpu/create.sh [--no-wait] [--dry-run]
#
# Run again, it goes on waiting for the same request. tpu/env.sh --help lists the settings.

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

wait_for_it=1
for argument in "$@"; do
  case $argument in
    --no-wait) wait_for_it=0 ;;
    *) common_argument "$argument" ;;
  esac
done
check_settings

case $POD_TIER in
  spot) flags=(--spot) ;;
  reserved) flags=(--reserved) ;;
  on-demand) flags=() ;;
esac
if ((POD_SLICES == 1)); then
  flags+=("--node-id=$POD_NAME")
else
  flags+=("--node-count=$POD_SLICES" "--node-prefix=$POD_NAME")
fi
read -ra more <<<"$POD_CREATE_FLAGS"

if ! tpus queued-resources create "$POD_NAME" "--accelerator-type=$POD_TYPE" "--runtime-version=$POD_RUNTIME" \
  "${flags[@]}" "${more[@]}" 2>"$SCRATCH/create"; then
  if grep -qi 'already.exists' "$SCRATCH/create"; then
    say "$POD_NAME is asked for already."
  else
    cat "$SCRATCH/create" >&2
    if grep -qiE 'quota|resource_exhausted' "$SCRATCH/create"; then
      say "The project has no quota for $POD_SLICES x $POD_TYPE ($POD_TIER) in $POD_ZONE. Ask for it at" \
        "https://console.cloud.google.com/iam-admin/quotas?project=$POD_PROJECT, or choose another POD_ZONE, POD_TYPE" \
        "or POD_TIER."
    fi
    die "$FAILED" "The pod was not created."
  fi
fi
((wait_for_it)) || exit 0

note "every $POD_POLL s, until the request is ACTIVE and every slice READY:"
seen=
while :; do
  read_condition
  case $CONDITION in
    ready) break ;;
    preempted) die "$PREEMPTED" "$POD_NAME was taken away ($FOUND): tpu/delete.sh, then tpu/create.sh." ;;
    deleted) die "$FAILED" "Somebody deleted $POD_NAME ($FOUND)." ;;
  esac
  if [[ $REQUEST == FAILED ]]; then
    tpus queued-resources describe "$POD_NAME" "--format=value(state.failedData.error.message)" >&2
    die "$FAILED" "The request failed, for the reason above. It stays in the list until tpu/delete.sh."
  fi
  if [[ $REQUEST != "$seen" ]]; then say "$POD_NAME: $REQUEST ($(date +%H:%M))"; fi
  seen=$REQUEST
  sleep "$POD_POLL"
done
((DRY_RUN)) || say "$POD_NAME is there: ${#SLICES[@]} x $POD_TYPE, $WORKERS workers. tpu/setup.sh comes next."
