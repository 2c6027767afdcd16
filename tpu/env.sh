#!/usr/bin/env bash
# Prints the settings of the pod, and checks that this machine can rent and reach it.
#
#   tpu/env.sh [--dry-run]
#
# Settings are environment variables; every script here reads them:
#   POD_PROJECT       Google Cloud project
#   POD_ZONE          zone, such as us-west4-a
#   POD_TYPE          accelerator type, such as v5litepod-32, v6e-32, v5p-128
#   POD_NAME          name of the request and of its slices                [laminate]
#   POD_SLICES        number of slices, each of POD_TYPE                   [1]
#   POD_TIER          spot, on-demand or reserved                          [spot]
#   POD_RUNTIME       software of the machines                             [the usual one of POD_TYPE]
#   POD_PYTHON        Python of the workers                                [3.12]
#   POD_EXTRAS        extras of laminate that are installed                [tpu,gcs]
#   POD_WORKER_ENV    local file of NAME=VALUE lines (HF_TOKEN, WANDB_API_KEY) for the environment of the training
#   POD_SETUP         shell command for every worker, at the end of tpu/setup.sh (mount a disk)
#   POD_CREATE_FLAGS  more flags for `queued-resources create`, separated by blanks
#   POD_SSH_FLAGS     more flags for every ssh and scp, separated by blanks (--tunnel-through-iap)
#   POD_POLL          seconds between two looks at the pod                 [30]
#   POD_SETTLE        seconds given to a pod that lost a worker to show why [300]

set -euo pipefail

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "tpu: bash $BASH_VERSION is too old, 4.4 is needed (on macOS: brew install bash)." >&2
  exit 2
fi

: "${POD_PROJECT:=}" "${POD_ZONE:=}" "${POD_TYPE:=}" "${POD_NAME:=laminate}" "${POD_SLICES:=1}" "${POD_TIER:=spot}"
: "${POD_RUNTIME:=}" "${POD_PYTHON:=3.12}" "${POD_EXTRAS:=tpu,gcs}" "${POD_WORKER_ENV:=}" "${POD_SETUP:=}"
: "${POD_CREATE_FLAGS:=}" "${POD_SSH_FLAGS:=}" "${POD_POLL:=30}" "${POD_SETTLE:=300}"
DRY_RUN=0
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/laminate-tpu.XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$HERE/gcloud.sh"
source "$HERE/workers.sh"

check_settings() {
  local name
  for name in POD_PROJECT POD_ZONE POD_TYPE; do
    [[ -n ${!name} ]] || die "$REFUSED" "$name is not set. Example:" \
      "export POD_PROJECT=my-project POD_ZONE=us-west4-a POD_TYPE=v5litepod-32"
  done
  [[ $POD_NAME =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
    die "$REFUSED" "POD_NAME is '$POD_NAME': use lower-case letters, digits and hyphens, a letter first."
  [[ $POD_SLICES =~ ^[1-9][0-9]*$ ]] || die "$REFUSED" "POD_SLICES is '$POD_SLICES': give a number from 1."
  [[ $POD_TIER =~ ^(spot|on-demand|reserved)$ ]] ||
    die "$REFUSED" "POD_TIER is '$POD_TIER': give spot, on-demand or reserved."
  [[ -z $POD_WORKER_ENV || -f $POD_WORKER_ENV ]] ||
    die "$REFUSED" "POD_WORKER_ENV is '$POD_WORKER_ENV', and there is no such file."
  [[ -z $POD_WORKER_ENV ]] || POD_WORKER_ENV=$(realpath "$POD_WORKER_ENV")
  cd "$HERE/.."
  [[ -n $POD_RUNTIME ]] || POD_RUNTIME=$(usual_runtime)
}

usual_runtime() { # https://cloud.google.com/tpu/docs/runtimes
  case $POD_TYPE in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v4-* | v3-* | v2-*) echo tpu-ubuntu2204-base ;;
    v5e-*) die "$REFUSED" "POD_TYPE is '$POD_TYPE': gcloud calls it v5litepod-${POD_TYPE#v5e-}." ;;
    tpu7x*) die "$REFUSED" "POD_TYPE is '$POD_TYPE': TPU7x is rented through GKE only; see tpu/README.md." ;;
    *) die "$REFUSED" "No software is known for POD_TYPE '$POD_TYPE': set POD_RUNTIME." ;;
  esac
}

check_this_machine() {
  local key=$HOME/.ssh/google_compute_engine
  command -v openssl >/dev/null || die "$REFUSED" "openssl is missing: tpu/launch.sh makes the secret of a job with it."
  command -v gcloud >/dev/null || die "$REFUSED" "gcloud is missing: https://cloud.google.com/sdk/docs/install"
  [[ -f $key && -f $key.pub ]] || die "$REFUSED" "There is no key for the workers: ssh-keygen -t ed25519 -f $key"
  ssh-add -L 2>/dev/null | grep -qF "$(cut -d' ' -f2 "$key.pub")" ||
    die "$REFUSED" "The key is not in the ssh agent, and gcloud copies to many workers only if it is:" \
      "eval \"\$(ssh-agent)\" && ssh-add $key"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  for argument in "$@"; do common_argument "$argument"; done
  check_settings
  ((DRY_RUN)) || check_this_machine
  note "$POD_NAME: $POD_SLICES x $POD_TYPE ($POD_TIER) with $POD_RUNTIME, in $POD_ZONE of $POD_PROJECT"
  tpus tpu-vm accelerator-types describe "$POD_TYPE" "--format=value(type)" >"$SCRATCH/type" ||
    die "$FAILED" "gcloud cannot find $POD_TYPE in $POD_ZONE of $POD_PROJECT; its message stands above."
  if ((DRY_RUN)); then
    cat "$SCRATCH/type"
  else
    say "$POD_NAME: $POD_SLICES x $POD_TYPE ($POD_TIER) with $POD_RUNTIME, in $POD_ZONE of $POD_PROJECT"
    say "gcloud, the key of the workers and the zone are well: tpu/create.sh comes next."
  fi
fi
