#!/usr/bin/env bash
# The checks, fast failures first: format, lint, types, layers, tests. Arguments go to pytest: tests/run.sh -k plan, or
# --cov=wan_ddp to see which lines no test runs (a third slower). With --environment alone: only their Python environment.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
# shellcheck source=environment.sh
source ./environment.sh
packages=(torch torchvision diffsynth accelerate numpy decord imageio_ffmpeg cv2 PIL pydantic safetensors tqdm
    rich pynvml jinja2 matplotlib fontTools pytest pytest_cov pytest_timeout xdist hypothesis jsonschema playwright
    kubernetes_validate ruff mypy importlinter)
make_environment requirements-dev.txt "${packages[@]}"
[[ ${1:-} != --environment ]] || exit 0

unset PYTHONDONTWRITEBYTECODE  # as some images set it: hundreds of processes would compile the project anew

step() {
    echo "== $1"
    shift
    "$@"
}

step "format" "$python" -m ruff format --check .
step "lint" "$python" -m ruff check .
step "types" "$python" -m mypy
step "layers" "$python" -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'
if command -v shellcheck >/dev/null; then
    step "shell" shellcheck -x launch.sh environment.sh tmux.sh tests/run.sh .ci/run \
        cluster/*.sbatch cluster/*.sh tests/cluster.sh tests/cluster/*.sh
else
    echo "== shell: skipped, there is no shellcheck here (Debian: apt install shellcheck)"
fi
step "tests" "$python" -m pytest -n 3 --dist loadfile --no-loadscope-reorder "$@"
