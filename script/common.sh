# Sourced by every launcher: finds the repository and its Python environment (REPO, PYTHON_BIN), defines `launch`.
# The caller's directory stays what it is: relative paths on the command line count from there.
set -euo pipefail

REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)

fail() {
    echo "error: $*" >&2
    exit 2
}

# A Python that can run environment.py: PYTHON, or the first in the range of pyproject.toml.
find_python() {
    local candidates=() folder candidate
    if [[ -n ${PYTHON:-} ]]; then
        candidates=("$PYTHON")
    else
        for folder in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}" "$REPO/.venv"; do
            if [[ -n $folder && -x $folder/bin/python ]]; then candidates+=("$folder/bin/python"); fi
        done
        candidates+=(python3 python3.13 python3.12 python3.11 python)
    fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" "$REPO/script/environment.py" --in-range 2>/dev/null; then return; fi
    done
    local range
    range=$(sed -n 's/^requires-python = "\(.*\)"/\1/p' "$REPO/pyproject.toml")
    if [[ -n ${PYTHON:-} ]]; then fail "PYTHON=$PYTHON is not a Python in the range $range"; fi
    fail "no Python in the range $range: install one, or name it with PYTHON="
}

# Nodes of a cluster share the disk and start together: they never install.
find_environment() {
    local python
    python=$(find_python) || exit
    if [[ ${NNODES:-1} == 1 ]]; then
        "$python" "$REPO/script/environment.py"
    else
        "$python" "$REPO/script/environment.py" --no-install
    fi
}

visible_gpus() {
    local present=0 listed=0 device
    if command -v nvidia-smi >/dev/null; then present=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true); fi
    if [[ -z ${CUDA_VISIBLE_DEVICES+set} ]]; then
        echo "$present"
        return
    fi
    # As CUDA reads it: the list ends at its first -1, and an empty one hides all.
    for device in ${CUDA_VISIBLE_DEVICES//,/ }; do
        if [[ $device == -1 ]]; then break; fi
        listed=$((listed + 1))
    done
    echo $((listed < present ? listed : present))
}

asks_for_cpu() {
    [[ " $* " == *" --device cpu "* || " $* " == *" --device=cpu "* ]]
}

# Processes on this node for the given arguments: NPROC_PER_NODE, or one per visible GPU, or one on the CPU.
processes_per_node() {
    local gpus
    if [[ -n ${NPROC_PER_NODE:-} ]]; then
        echo "$NPROC_PER_NODE"
        return
    fi
    if asks_for_cpu "$@"; then
        echo 1
        return
    fi
    gpus=$(visible_gpus)
    echo $((gpus > 0 ? gpus : 1))
}

# split_at_dashes ARGS...: what stands before a lone -- into BEFORE, what stands behind it into BEHIND.
split_at_dashes() {
    BEFORE=() BEHIND=()
    while [[ $# -gt 0 && $1 != -- ]]; do
        BEFORE+=("$1")
        shift
    done
    BEHIND=("${@:2}")
}

free_port() {
    "$PYTHON_BIN" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# launch ENTRY ARGS...: run src/ENTRY, once or in as many processes as this machine has GPUs.
launch() {
    local entry="$REPO/src/$1" processes threads port nodes=${NNODES:-1}
    shift
    processes=$(processes_per_node "$@")
    if [[ $processes =~ ^[0-9]+$ ]]; then
        threads=$(($(nproc) / processes))
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
    fi
    # DeepSpeed, which the trainers' libraries import, looks for an accelerator and warns that there is none.
    if asks_for_cpu "$@"; then export DS_ACCELERATOR=cpu; fi
    if [[ $nodes == 1 && $processes == 1 ]]; then
        "$PYTHON_BIN" "$entry" "$@"
        return
    fi
    port=${MASTER_PORT:-}
    if [[ -z $port ]]; then
        if [[ $nodes == 1 ]]; then port=$(free_port); else port=29500; fi
    fi
    "$PYTHON_BIN" -m torch.distributed.run --nnodes "$nodes" --node_rank "${NODE_RANK:-0}" \
        --nproc_per_node "$processes" --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "$port" "$entry" "$@"
}

PYTHON_BIN=$(find_environment)
