# Sourced by env.sh: how commands are run or printed, and what gcloud knows of the pod.
# shellcheck shell=bash

SLICES=() STATES=() MACHINES=() WORKERS=0

# Exit codes of every script.
FAILED=1    # a step or the training failed
REFUSED=2   # nothing was done
PREEMPTED=3 # the pod was taken away

say() { printf 'tpu: %s\n' "$*" >&2; }

die() { # die CODE MESSAGE...
  local code=$1
  shift
  say "$@"
  exit "$code"
}

common_argument() { # --dry-run, --help, or an error
  case $1 in
    --dry-run) DRY_RUN=1 ;;
    -h | --help) # the comment at the top of the script
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) die "$REFUSED" "$(basename "$0") does not know '$1'; --help says what it takes." ;;
  esac
}

number() { # number FLAG VALUE: the value, which must be a whole number
  [[ ${2:-} =~ ^[0-9]+$ ]] || die "$REFUSED" "$1 takes a whole number, got '${2:-}'."
  echo "$2"
}

quote() { # WORD: a word as a shell reads it back, --flag=value as --flag='value'
  local flag=
  WORD=$1
  if [[ $1 =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then return; fi
  if [[ $1 =~ ^--[a-z-]+= ]]; then flag=${BASH_REMATCH[0]}; fi
  WORD=${1#"$flag"}
  WORD="$flag'${WORD//\'/\'\\\'\'}'"
}

quoted() { # a command as a shell reads it back
  local word line=
  for word in "$@"; do
    quote "$word"
    line+=${line:+ }$WORD
  done
  printf '%s\n' "$line"
}

print_command() { # the same; a long command goes on in further lines
  local word line=
  for word in "$@"; do
    quote "$word"
    if [[ -n $line ]] && ((${#line} + ${#WORD} > 110)); then
      printf '%s \\\n' "$line"
      line="    $WORD"
    else
      line+=${line:+ }$WORD
    fi
  done
  printf '%s\n' "$line"
}

run() { # run COMMAND...; a dry run prints it
  if ((DRY_RUN)); then print_command "$@"; else "$@"; fi
}

note() { # a remark between the commands of a dry run
  if ((DRY_RUN)); then printf '# %s\n' "$*"; fi
}

tpus() { # a command of `gcloud compute tpus`, for the zone of the pod
  run gcloud compute tpus "$@" "--project=$POD_PROJECT" "--zone=$POD_ZONE"
}

describe_request() {
  tpus queued-resources describe "$POD_NAME" "--format=value(state.state,state.stateInitiator)"
}

list_slices() {
  tpus tpu-vm list "--filter=queuedResource~/$POD_NAME\$" \
    '--format=value(name.basename(),state,networkEndpoints.len())'
}

# REQUEST: the state of the request, ABSENT without one, UNKNOWN if gcloud cannot say. INITIATOR: USER or SERVICE.
read_request() {
  local answer errors
  REQUEST=UNKNOWN INITIATOR=
  if ((DRY_RUN)); then
    describe_request
    return
  fi
  errors=$SCRATCH/describe
  if answer=$(describe_request 2>"$errors"); then
    read -r REQUEST INITIATOR <<<"$answer" || true
  elif grep -qiE 'not_found|not found' "$errors"; then
    REQUEST=ABSENT
  else
    cat "$errors" >&2
  fi
}

# SLICES: names; STATES: of each; MACHINES: the number of workers in each; WORKERS: in all of them.
read_slices() {
  local lines name state machines
  if ((DRY_RUN)); then
    list_slices
    return
  fi
  lines=$(list_slices) || return
  SLICES=() STATES=() MACHINES=() WORKERS=0
  while read -r name state machines; do
    [[ -n $name ]] || continue
    SLICES+=("$name") STATES+=("$state") MACHINES+=("${machines:-0}")
    WORKERS=$((WORKERS + ${machines:-0}))
  done < <(sort -V <<<"$lines")
}

# CONDITION: ready, preempted, deleted (by somebody) or unknown; FOUND: what gcloud said. Only what it says for
# certain counts as preempted: a laptop without network must not give a running pod back.
read_condition() {
  CONDITION=unknown STATES=()
  read_request
  if ((DRY_RUN)); then
    read_slices
    CONDITION=ready
    return
  fi
  case $REQUEST in
    ABSENT | DELETING) CONDITION=deleted ;;
    SUSPENDING | SUSPENDED) if [[ $INITIATOR == USER ]]; then CONDITION=deleted; else CONDITION=preempted; fi ;;
    ACTIVE) if read_slices; then judge_slices; fi ;;
  esac
  FOUND="request $REQUEST${STATES[*]:+, slices ${STATES[*]}}"
}

judge_slices() {
  local state
  CONDITION=ready
  if ((${#SLICES[@]} < POD_SLICES)); then CONDITION=preempted; fi
  for state in "${STATES[@]}"; do
    case $state in
      READY) ;;
      PREEMPTED | TERMINATED | STOPPING | STOPPED | HIDING | HIDDEN | DELETING) CONDITION=preempted ;;
      *) if [[ $CONDITION == ready ]]; then CONDITION=unknown; fi ;;
    esac
  done
}

need_ready_pod() { # ends the script unless every slice is there, by the last read_condition
  case $CONDITION in
    ready) ;;
    preempted) die "$PREEMPTED" "$POD_NAME was taken away ($FOUND): tpu/delete.sh, then tpu/create.sh." ;;
    deleted) die "$FAILED" "There is no pod $POD_NAME in $POD_ZONE: tpu/create.sh makes it." ;;
    unknown) die "$FAILED" "$POD_NAME is not ready ($FOUND): tpu/create.sh waits for it, or says why not." ;;
  esac
}
