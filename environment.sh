# shellcheck shell=bash
# The Python environment, sourced by launch.sh and tests/run.sh, which then call "$python".
# The active environment (conda, venv, an image's own Python) is used as it is if it has the packages; else a .venv is
# made beside this file, once. A .venv whose requirements have changed since is brought up to date.

environment_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=

lacking_packages() {  # interpreter, module names: prints what it lacks; fails if it is no Python of a version that works
    "$1" - "${@:2}" 2>/dev/null <<'PYTHON'
import sys
sys.path = [entry for entry in sys.path if entry]  # not the working directory, where a file may be called torch.py
import importlib.util
if not (3, 10) <= sys.version_info < (3, 14):
    sys.exit(1)
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
PYTHON
}

find_environment() {  # module names: sets $python to an environment that has them all, or fails
    local candidate lacking
    for candidate in "$(command -v python3 || true)" "$environment_root/.venv/bin/python"; do
        if [[ -x $candidate ]] && lacking=$(lacking_packages "$candidate" "$@") && [[ -z $lacking ]]; then
            python=$candidate
            return
        fi
    done
    return 1
}

find_current_environment() {  # requirements file, module names: the same, but a .venv of other requirements will not do
    find_environment "${@:2}" && { [[ $python != "$environment_root"/.venv/* ]] ||
        grep -qxF "$(stamp_of "$1")" "$environment_root/.venv/.installed" 2>/dev/null; }
}

stamp_of() {  # requirements file: the line that says in .venv/.installed that these very requirements are installed
    echo "$(basename "$1") $(cat "$1" "$environment_root/requirements.txt" "$environment_root/constraints.txt" | cksum)"
}

find_base_python() {  # prints an interpreter that a .venv can be made with
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 python3.10; do
        if lacking_packages "$candidate" venv ensurepip | grep -qx ''; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_environment() {  # requirements file, module names: sets $python, installing what is missing
    local lock status=0
    if find_current_environment "$@"; then
        return
    fi
    # Nodes and tasks of a cluster start together on one checkout: one of them makes it, the others find it made.
    { exec {lock}>>"$environment_root/requirements.txt" && flock "$lock"; } 2>/dev/null || true  # if it can be written to
    find_current_environment "$@" || install_environment "$@" || status=$?
    [[ -z ${lock:-} ]] || exec {lock}>&-
    return "$status"
}

install_environment() {  # the same, by one process at a time
    local requirements=$1 base size=
    if [[ ! -x $environment_root/.venv/bin/python ]]; then
        if ! base=$(find_base_python); then
            echo "error: no Python 3.10 to 3.13 with venv found; install one (Debian: apt install python3-venv)," \
                "name it with PYTHON=..., or activate an environment and run: pip install -r requirements.txt" >&2
            return 1
        fi
        echo "setup: making .venv with $base ($("$base" --version))"
        PYTHONSAFEPATH=1 "$base" -m venv "$environment_root/.venv" || return 1
    fi
    python=$environment_root/.venv/bin/python
    [[ -z $(lacking_packages "$python" torch) ]] || size=" (torch with its CUDA libraries is 3 GB: some minutes)"
    echo "setup: installing $(basename "$requirements") into .venv$size"
    if ! PYTHONSAFEPATH=1 "$python" -m pip install --no-compile --disable-pip-version-check -r "$requirements" \
        -c "$environment_root/constraints.txt" | grep -v "already satisfied"; then
        echo "error: the packages could not be installed; see pip's message above, mend it and start again:" \
            "what was installed stays" >&2
        return 1
    fi
    # By all cores, which pip does by one; what is for another version of Python cannot be compiled, and need not be.
    PYTHONSAFEPATH=1 "$python" -m compileall -qq -j 0 "$environment_root/.venv/lib" 2>/dev/null || true
    stamp_of "$requirements" >>"$environment_root/.venv/.installed"
}
