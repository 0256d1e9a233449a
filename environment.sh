# shellcheck shell=bash
# The Python environment, sourced by launch.sh and tests/run.sh, which then call "$python".
# The active environment (conda, venv, an image's own Python) is used as it is if it has the packages; else a .venv is
# made beside this file, once. A .venv whose requirements have changed since is brought up to date.

environment_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=

lacking_packages() {  # interpreter, module names: prints what it lacks; fails if it is no Python of a version that works
    "$1" - "${@:2}" 2>/dev/null <<'PYTHON'
import importlib.util, sys
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
    local requirements=$1 base stamp="$environment_root/.venv/.installed" wanted
    wanted=$(cat "$requirements" "$environment_root/requirements.txt" "$environment_root/constraints.txt" | cksum)
    if find_environment "${@:2}" && { [[ $python != "$environment_root"/.venv/* ]] ||
        grep -qxF "$(basename "$requirements") $wanted" "$stamp" 2>/dev/null; }; then
        return
    fi
    if [[ ! -x $environment_root/.venv/bin/python ]]; then
        if ! base=$(find_base_python); then
            echo "error: no Python 3.10 to 3.13 with venv found; install one (Debian: apt install python3-venv)," \
                "name it with PYTHON=..., or activate an environment and run: pip install -r requirements.txt" >&2
            return 1
        fi
        echo "setup: making .venv with $base ($("$base" --version))"
        "$base" -m venv "$environment_root/.venv" || return 1
    fi
    python=$environment_root/.venv/bin/python
    echo "setup: installing $(basename "$requirements") into .venv (torch with its CUDA libraries is 3 GB: some minutes)"
    if ! "$python" -m pip install --disable-pip-version-check -r "$requirements" \
        -c "$environment_root/constraints.txt" | grep -v "already satisfied"; then
        echo "error: the packages could not be installed; see pip's message above, mend it and start again:" \
            "what was installed stays" >&2
        return 1
    fi
    echo "$(basename "$requirements") $wanted" >>"$stamp"
}
