#!/usr/bin/env bash
# Runs a command of the commit that is checked out on every worker of the pod, and follows worker 0 until it ends.
#
#   tpu/launch.sh [OPTIONS] -- python experiments/vae.py --distributed --mesh 4x8 --run-dir gs://BUCKET/RUN
#   tpu/launch.sh --stop              the training saves and leaves; the same command goes on from there
#
#   --retries N     make a preempted pod anew and launch again, at most N times
#   --attach        take up the following of a training that goes on; with --retries, give its command as well
#   --detach        do not follow: leave once every worker has started (tpu/logs.sh --follow shows the rest)
#   --replace       stop what runs on the pod first
#   --allow-dirty   launch the commit although files differ from it
#   --dry-run       print the commands only
#
# Each launch makes a secret, LAMINATE_JOB_TOKEN, which its workers alone hold: no other process can join their training.
# Ctrl-C ends the following, not the training. If hosts did not arrive, or a step failed half-way, run it again: each
# step begins anew on all workers. Exit codes: 0 done, 1 failed, 2 refused, 3 preempted with no retries left.

source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

retries=0 attach=0 detach=0 replace=0 allow_dirty=0 only_stop=0
while (($#)); do
  case $1 in
    --retries)
      retries=$(number --retries "${2:-}")
      shift
      ;;
    --attach) attach=1 ;;
    --detach) detach=1 ;;
    --replace) replace=1 ;;
    --allow-dirty) allow_dirty=1 ;;
    --stop) only_stop=1 ;;
    --) shift && break ;;
    *) common_argument "$1" ;;
  esac
  shift
done
check_settings

check_command() { # check_command COMMAND...
  local word before='' resumable=0
  (($# || (attach && !retries))) || die "$REFUSED" "Nothing to run: tpu/launch.sh -- python experiments/vae.py --distributed ..."
  if ((retries && detach)); then
    die "$REFUSED" "--retries watches the training, so it cannot stand beside --detach."
  fi
  for word in "$@"; do
    case "$before $word" in
      *\ experiments/*.py) git cat-file -e "$commit:$word" 2>/dev/null ||
        die "$REFUSED" "$word is not in the commit that is checked out." ;;
      --run-dir\ gs://* | *\ --run-dir=gs://*) resumable=1 ;;
    esac
    before=$word
  done
  if ((retries && !resumable)); then
    die "$REFUSED" "With --retries the run must outlive the machines, whose disks are lost: --run-dir gs://BUCKET/RUN"
  fi
}

check_tree() {
  local differing
  differing=$(git status --porcelain)
  if [[ -n $differing ]] && ! ((allow_dirty)); then
    printf '%s\n' "$differing" >&2
    die "$REFUSED" "These files differ from the commit that would be launched: commit them, or add --allow-dirty to" \
      "launch ${commit} without them."
  fi
}

deliver() { # the commit and a new token of the job, on every worker
  local code=0
  run git archive --format=tar.gz "--output=$archive" "$commit" || return "$FAILED"
  # In a file that only its owner reads: a command line or a log can be read by others.
  run install -m 600 /dev/null "$token" || return "$FAILED"
  run openssl rand -hex -out "$token" 32 || return "$FAILED"
  copy "" tpu/worker.sh "$archive" "$token" || code=$?
  rm -f "$token"
  if ((code)); then trouble "copy of the commit" received "${archive##*/}" || return; fi
  if ((replace)); then everywhere stop || trouble stop report stop 20 || return; fi
  everywhere install "${archive##*/}" "$POD_EXTRAS" || trouble install report install 20 || return
}

start() { # start COMMAND...: on every worker or on none
  started=1
  everywhere start "$@" && return
  trouble start report start 20
  local code=$?
  if ((code == FAILED)); then
    everywhere stop || true
    say "The workers named above did not start, so the others were stopped: run tpu/launch.sh again."
  fi
  return "$code"
}

follow() { # until the training has ended on every worker
  local lines=+1
  while :; do
    ((DRY_RUN)) || say "worker 0 says (Ctrl-C ends the following, not the training):"
    ask 0 0 follow "$lines" || say "The connection to worker 0 is lost."
    note "then, and whenever the connection is lost:"
    settle report run 20 || return
    if ((DRY_RUN)); then return; fi
    if [[ ${FATES[0]} != running ]]; then break; fi
    sleep "$POD_POLL"
    lines=20
  done
  if [[ $(printf '%s\n' "${FATES[@]}" | sort -u) != "exit 0" ]]; then
    blame run
    return "$FAILED"
  fi
}

one_try() { # one_try COMMAND...
  if ((attach)); then
    attach=0 # what a retry launches is new
  else
    deliver || return
    start "$@" || return
  fi
  if ((detach)); then return; fi
  follow
}

make_anew() {
  local flags=()
  if ((DRY_RUN)); then flags=(--dry-run); fi
  "$HERE/delete.sh" --yes "${flags[@]}" && "$HERE/create.sh" "${flags[@]}" && "$HERE/setup.sh" "${flags[@]}"
}

# shellcheck disable=SC2329 # called by a trap
interrupted() {
  rm -f "$token"
  if ((started)); then
    say "The training goes on: tpu/launch.sh --attach takes this up again, --stop ends it."
  else
    say "Interrupted before the training was started."
  fi
  exit 130
}

stop() {
  read_condition
  need_ready_pod
  everywhere stop || trouble stop report stop 20
}

launch() { # launch COMMAND...: tries, as often as it may
  local code=0 try
  read_condition
  if ((retries)) && [[ $CONDITION == preempted ]]; then
    say "$POD_NAME was preempted ($FOUND)."
    code=$PREEMPTED
  else
    need_ready_pod
    if ((WORKERS > 1 && $#)) && [[ " $* " != *" --distributed "* ]]; then
      say "Note: $WORKERS workers, and no --distributed in the command: a process that finds no others works alone."
    fi
    one_try "$@" || code=$?
  fi
  for ((try = 1; code == PREEMPTED && try <= retries; try++)); do
    say "Making $POD_NAME anew for commit $commit: retry $try of $retries."
    code=0
    make_anew || code=$?
    if ((code == 0)); then
      read_condition
      one_try "$@" || code=$?
    fi
  done
  if ((DRY_RUN && retries)); then
    note "after a preemption, at most $retries times, then again from git archive on:"
    make_anew
  fi
  return "$code"
}

main() { # one function, because bash reads a script while it runs, and this one runs for days
  local code=0
  if ((only_stop)); then
    stop
    exit
  fi
  commit=$(git rev-parse --short=12 HEAD)
  archive=${TMPDIR:-/tmp}/laminate-$commit.tar.gz token=${TMPDIR:-/tmp}/laminate-$commit.token
  check_command "$@"
  check_tree
  started=$attach
  trap interrupted INT
  launch "$@" || code=$?
  rm -f "$archive"
  if ((DRY_RUN)); then exit; fi
  case $code in
    0) if ((detach)); then
      say "Started on all $WORKERS workers: tpu/logs.sh --follow shows worker 0."
    else
      say "The training ended well on all $WORKERS workers. tpu/delete.sh gives the pod back."
    fi ;;
    "$PREEMPTED") say "Preempted, and no retries are left: the same command with --retries makes the pod anew." ;;
  esac
  exit "$code"
}

main "$@"
