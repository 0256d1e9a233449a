# shellcheck shell=bash
# `launch.sh --tmux`: the run in a tmux session, which outlives the terminal, and each rank's log in a session of its own.
# Sourced by launch.sh; called as `bash tmux.sh FILE` inside the session, it goes on with what FILE hands over.

main_session=wan_experiment_main
sessions_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

on_tmux() {  # tmux's own arguments: on the server of the user, or the one that WAN_TMUX_SOCKET names
    tmux ${WAN_TMUX_SOCKET:+-L "$WAN_TMUX_SOCKET"} "$@"
}

literal() {  # words: sets $words to them as tmux takes them, which ends a command at a word that ends in ";"
    words=("${@/%;/\\;}")
}

attach_command() {  # session: prints how a person attaches to it
    echo "tmux ${WAN_TMUX_SOCKET:+-L $WAN_TMUX_SOCKET }attach -t $1"
}

find_tmux() {
    command -v tmux >/dev/null && return
    echo "error: --tmux needs tmux, which is not here; install it (Debian: apt install tmux), or leave --tmux out and" \
        "start the run under nohup or screen" >&2
    return 1
}

join_session() {  # attaches to a run that goes on, and ends this script; returns when there is none
    local pane panes
    on_tmux has-session -t "=$main_session" 2>/dev/null || return 0
    pane=$(on_tmux show-options -qv -t "=$main_session:" @wan_pane)
    if [[ -z $pane ]]; then
        echo "error: there is a tmux session $main_session that --tmux did not start; rename or close it:" \
            "tmux rename-session -t $main_session old" >&2
        exit 2
    fi
    panes=$(on_tmux list-panes -s -t "=$main_session:" -F '#{pane_id} #{pane_dead},')
    if [[ $panes != *"$pane 0,"* ]]; then
        on_tmux kill-session -t "=$main_session"  # it shows the verdict of a run that has ended
        return 0
    fi
    echo "launch: run $(on_tmux show-options -qv -t "=$main_session:" @wan_run) goes on in $main_session;" \
        "nothing was started"
    if [[ ! -t 0 || ! -t 1 ]]; then
        echo "launch: attach to it with: $(attach_command "$main_session")"
        exit 0
    fi
    if [[ -n ${TMUX:-} && -z ${WAN_TMUX_SOCKET:-} ]]; then
        on_tmux switch-client -t "=$main_session"
    else
        TMUX='' on_tmux attach-session -t "=$main_session"
    fi
    exit
}

start_session() {  # run id, ranks, flags of generate.py: starts the run in its session, and those that watch it
    local run_id=$1 num_ranks=$2 handed_over pane below pid each
    local -a names words
    shift 2
    # shellcheck disable=SC2154 # environment.sh finds it
    mapfile -d '' -t names < <("$python" -m wan_ddp.sessions "$num_ranks" "$@")
    handed_over=$(mktemp "${TMPDIR:-/tmp}/wan-ddp-tmux.XXXXXXXX")  # for this user alone: it may hold access tokens
    printf '%s\0' "$PWD" "$#" "$@" >"$handed_over"
    env -0 "WAN_TMUX_RUN=$run_id $num_ranks" >>"$handed_over"
    # In one go, or a run that ends at once would leave nothing to read. A user's tmux.conf may say otherwise.
    if ! pane=$(on_tmux new-session -d -P -F '#{pane_id}' -s "$main_session" -n run -x 200 -y 60 \
        bash "$sessions_root/tmux.sh" "$handed_over" \
        \; set-option -t "=$main_session:" destroy-unattached off \
        \; set-option -w -t "=$main_session:" remain-on-exit on \
        \; set-option -t "=$main_session:" @wan_run "$run_id" \
        \; set-option -F -t "=$main_session:" @wan_pane '#{pane_id}'); then
        rm -f -- "$handed_over"
        return 1
    fi
    pid=$(on_tmux display-message -p -t "$pane" '#{pane_pid}')
    literal env "PYTHONPATH=$PYTHONPATH" PYTHONSAFEPATH=1 "$python" -m wan_ddp status "${names[0]}" --watch --run "$run_id"
    below=$(on_tmux split-window -d -P -F '#{pane_id}' -t "$pane" -l 44 "${words[@]}")
    if command -v nvidia-smi >/dev/null; then
        # shellcheck disable=SC2016 # for the bash that is started
        on_tmux split-window -d -t "$below" -l 20 bash -c \
            'while kill -0 "$0" 2>/dev/null; do printf "\033[H\033[2J%s" "$(nvidia-smi 2>&1)"; sleep 2; done' "$pid"
    fi
    for ((each = 1; each < ${#names[@]}; each += 2)); do
        follow_log "${names[each]}" "${names[each + 1]}" "$run_id" "$pid"
    done
    say_started "${names[0]}" "${names[1]}"
}

follow_log() {  # session, log, run id, process that it ends with
    if on_tmux has-session -t "=$1" 2>/dev/null; then
        if [[ -z $(on_tmux show-options -qv -t "=$1:" @wan_run) ]]; then
            echo "launch: a tmux session $1 is there already and stays; the log is $2" >&2
            return
        fi
        on_tmux kill-session -t "=$1"  # an earlier run's, about to go
    fi
    : >>"$2" || true  # the rank makes it otherwise, and until then tail complains
    on_tmux new-session -d -s "$1" -x 200 -y 50 tail --pid="$4" -n 100 -F -- "$2" \
        \; set-option -t "=$1:" destroy-unattached off \
        \; set-option -w -t "=$1:" remain-on-exit off \
        \; set-option -t "=$1:" @wan_run "$3"
}

say_started() {  # output folder, a rank's session
    cat <<TEXT
launch: the run goes on in tmux, whatever becomes of this terminal
  see it         $(attach_command "$main_session")   (Ctrl-b d leaves it)
  a rank's log   $(attach_command "$2")   (and so on for each rank)
  from anywhere  python -m wan_ddp status $(printf %q "$1") --watch
  stop it        tmux ${WAN_TMUX_SOCKET:+-L $WAN_TMUX_SOCKET }kill-session -t $main_session
  its exit code  that of: python -m wan_ddp status $(printf %q "$1"); report.json there has the verdict
TEXT
}

say_ended() {  # exit code: within the session, last of all
    echo "launch: ended with exit code $1; close this with: tmux kill-session -t $main_session" || true
    # tmux 3.3 now and then misses the end of a pane's process and leaves a zombie, which the ranks' sessions wait for. It
    # looks for all that have ended when another one does.
    on_tmux run-shell -b 'sleep 2' 2>/dev/null || true
}

go_on() {  # file with the working directory, the flags with their number before them, and the environment
    local -a fields
    local name pair
    mapfile -d '' -t fields <"$1"
    rm -f -- "$1"
    # The server's environment is that of whoever started it, days ago perhaps.
    for name in $(compgen -e); do
        [[ $name == TERM || $name == TMUX* ]] || unset "$name" 2>/dev/null || true
    done
    for pair in "${fields[@]:2+fields[1]}"; do
        name=${pair%%=*}
        [[ $name == TERM || $name == TMUX* ]] || export "${pair?}" 2>/dev/null || true
    done
    cd -- "${fields[0]}" || exit 2
    exec bash "$sessions_root/launch.sh" "${fields[@]:2:fields[1]}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    go_on "$1"
fi
