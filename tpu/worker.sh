#!/usr/bin/env bash
# What happens on a worker. tpu/setup.sh and tpu/launch.sh copy this file there and call it through ssh:
#
#   bash worker.sh prepare PYTHON                  a virtual environment in ~/laminate/venv
#   bash worker.sh hook COMMAND                    the user's own preparation
#   bash worker.sh install ARCHIVE EXTRAS          unpack the commit in ~/laminate/code and install it; take the token
#                                                  of the job, which lies beside the archive
#   bash worker.sh start COMMAND [ARGUMENT...]     run it in the background, logged in ~/laminate/run.log
#   bash worker.sh follow LINES                    print the log until the run ends
#   bash worker.sh stop                            end the run as a preemption would: it saves and leaves
#   bash worker.sh report ACTION LINES             `TIME FATE` of run or another action, and the end of its log
#   bash worker.sh received FILE                   the same, of a copied file

set -euo pipefail

ROOT=$HOME/laminate
STOP_PATIENCE=${STOP_PATIENCE:-180} # seconds a run may take to save

mkdir -p "$ROOT"
cd "$ROOT"

prepare() { # prepare PYTHON
  if [ -f "$HOME/laminate.env" ]; then chmod 600 "$HOME/laminate.env"; fi # it holds secrets
  if ! [ -x venv/bin/python ]; then
    # The machines come with an older Python than laminate needs; uv brings one.
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --seed --python "$1" venv
  fi
  venv/bin/python --version
}

hook() { # hook COMMAND
  bash -euc "$1"
}

install() { # install ARCHIVE EXTRAS
  if alive; then
    echo "A run is going on here (process $(cat run.pid)): end it with tpu/launch.sh --stop, or add --replace."
    return 1
  fi
  if [ -f run.log ]; then mv run.log previous.log; fi
  rm -rf arriving run.exit run.pid run.stop
  mkdir arriving
  tar -xzf "$HOME/$1" -C arriving
  rm -rf code
  mv arriving code
  rm "$HOME/$1"
  mv "$HOME/${1%.tar.gz}.token" job.token
  chmod 600 job.token
  (cd code && ../venv/bin/python -m pip install --quiet --disable-pip-version-check ".[$2]")
}

start() { # start COMMAND [ARGUMENT...]
  if alive; then
    echo "A run is going on here already (process $(cat run.pid))."
    return 1
  fi
  rm -f run.exit run.stop
  setsid bash "$HOME/worker.sh" run "$@" >run.log 2>&1 </dev/null &
  echo $! >run.pid # also the process group
}

run() { # run COMMAND [ARGUMENT...]: in the foreground; records how it ended
  local code=0 stopped=0
  if [ -f "$HOME/laminate.env" ]; then
    set -a
    # shellcheck source=/dev/null
    . "$HOME/laminate.env"
    set +a
  fi
  LAMINATE_JOB_TOKEN=$(cat job.token)
  export PATH="$ROOT/venv/bin:$PATH" PYTHONUNBUFFERED=1 LAMINATE_JOB_TOKEN
  trap 'stopped=1' TERM # seen once the command has ended, which gets the signal, too, and saves
  cd code
  "$@" || code=$?
  cd "$ROOT"
  if ((stopped)) && ! [ -f run.stop ]; then record run stopped; else record run "exit $code"; fi
}

alive() { # one that has ended and that nobody waits for, as in a container, answers to signals all the same
  local pid
  [ -f run.pid ] && ! [ -f run.exit ] && pid=$(cat run.pid) && kill -0 "$pid" 2>/dev/null &&
    ! grep -qs '^State:[[:space:]]*Z' "/proc/$pid/status"
}

follow() { # follow LINES
  (while alive && kill -0 $$ 2>/dev/null; do sleep 0.1; done) &
  tail --sleep-interval=0.1 --pid="$!" --lines="$1" --follow run.log
}

stop() {
  local group waited=0
  if ! alive; then
    echo "Nothing runs here."
    return
  fi
  group=$(cat run.pid)
  touch run.stop
  kill -TERM -- "-$group"
  while alive && ((waited < 10 * STOP_PATIENCE)); do
    sleep 0.1
    waited=$((waited + 1))
  done
  if alive; then
    echo "Still there after $STOP_PATIENCE s: killed."
    kill -KILL -- "-$group"
  fi
}

record() { # record ACTION FATE
  echo "$(date +%s) $2" >"$1.exit.partial"
  mv "$1.exit.partial" "$1.exit"
}

report() { # report ACTION LINES
  if [ -f "$1.exit" ]; then
    cat "$1.exit"
  elif [ "$1" = run ] && alive; then
    echo "$(date +%s) running"
  elif [ -f "$1.log" ]; then
    echo "$(date +%s) unfinished"
  else
    echo "$(date +%s) absent"
  fi
  if [ -f "$1.log" ]; then tail --lines="$2" "$1.log"; fi
}

received() { # received FILE
  if [ -s "$HOME/$1" ]; then
    echo "$(date +%s) exit 0"
  else
    echo "$(date +%s) absent"
    df -h "$HOME"
  fi
}

action=${1:-}
shift || true
case $action in
  run | follow | report | received) "$action" "$@" ;;
  prepare | hook | install | start | stop)
    rm -f "$action.exit"
    set +e # a condition around the action would switch its -e off
    (
      set -e
      "$action" "$@"
    ) >"$action.log" 2>&1
    code=$?
    set -e
    record "$action" "exit $code"
    if [ "$code" = 0 ]; then echo "laminate: $action done"; fi
    exit "$code"
    ;;
  *)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
