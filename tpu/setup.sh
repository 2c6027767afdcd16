#!/usr/bin/env bash
# Prepares every worker once: a virtual environment with a Python that laminate can use, then POD_SETUP.
#
#   tpu/setup.sh [--dry-run]

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

for argument in "$@"; do common_argument "$argument"; done
check_settings
read_condition
need_ready_pod

copy "" tpu/worker.sh || trouble "copy of worker.sh" received worker.sh
if [[ -n $POD_WORKER_ENV ]]; then
  copy laminate.env "$POD_WORKER_ENV" || trouble "copy of $POD_WORKER_ENV" received laminate.env
fi
everywhere prepare "$POD_PYTHON" || trouble prepare report prepare 20
if [[ -n $POD_SETUP ]]; then
  everywhere hook "$POD_SETUP" || trouble POD_SETUP report hook 20
fi
((DRY_RUN)) || say "$WORKERS workers are prepared: tpu/launch.sh comes next."
