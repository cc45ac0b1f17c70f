# Sourced by every launcher: finds the repository and its Python environment (REPO, PYTHON_BIN), defines `launch`.
# The caller's directory is kept: relative paths on the command line count from there.
set -euo pipefail

REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)

fail() {
    echo "error: $*" >&2
    exit 2
}

# A notice of preemption between two commands: nothing is lost, the status says that another start goes on (docs/clusters.md).
preempted=75
trap 'exit $preempted' TERM USR1

source "$REPO/script/environment.sh"

asks_for_cpu() {
    [[ " $* " == *" --device cpu "* || " $* " == *" --device=cpu "* ]]
}

asks_for_help() {
    [[ " $* " == *" --help "* || " $* " == *" -h "* ]]
}

# value_of KEY ARGS...: what follows the last --KEY, or nothing.
value_of() {
    local key="--$1" value=""
    shift
    while [[ $# -gt 0 ]]; do
        case $1 in
            "$key") value=${2:-} ;;
            "$key"=*) value=${1#*=} ;;
        esac
        shift
    done
    echo "$value"
}

# The number of GPUs that torch can use. torch counts them, since only torch knows which of those listed by nvidia-smi remain
# with CUDA_VISIBLE_DEVICES, MIG and an old driver; that takes seconds, so it is called only where a driver is installed.
count_gpus() {
    if ! command -v nvidia-smi >/dev/null && ! compgen -G '/dev/nvidia[0-9]*' >/dev/null; then
        echo 0
        return
    fi
    "$PYTHON_BIN" -c 'import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)' 2>/dev/null ||
        echo 0
}

# Processes on this node for the given arguments: NPROC_PER_NODE, or one per GPU, or one. Where torch cannot use an existing
# GPU, the one process ends with the entry point's error.
processes_per_node() {
    local gpus
    if [[ -n ${NPROC_PER_NODE:-} ]]; then
        echo "$NPROC_PER_NODE"
    elif asks_for_cpu "$@"; then
        echo 1
    else
        gpus=$(count_gpus)
        echo $((gpus > 0 ? gpus : 1))
    fi
}

# split_at_dashes ARGS...: the arguments before a lone -- into BEFORE, those after it into AFTER.
split_at_dashes() {
    BEFORE=() AFTER=()
    while [[ $# -gt 0 && $1 != -- ]]; do
        BEFORE+=("$1")
        shift
    done
    AFTER=("${@:2}")
}

# run_forwarding COMMAND...: run it and pass SIGTERM and SIGUSR1 on; bash itself would die of them, or wait for the end.
run_forwarding() {
    local process status=0 noticed=1
    (
        trap - INT QUIT # bash lets what runs in the background ignore them
        exec "$@"
    ) <&0 &
    process=$!
    trap 'noticed=1; kill -s TERM "$process" 2>/dev/null || true' TERM
    trap 'noticed=1; kill -s USR1 "$process" 2>/dev/null || true' USR1
    while [[ $noticed == 1 ]]; do # a signal ends `wait` too
        noticed=0 status=0
        wait "$process" || status=$?
    done
    trap 'exit $preempted' TERM USR1
    return "$status"
}

# launch ENTRY ARGS...: run src/ENTRY, once or in as many processes as this machine has GPUs.
launch() {
    local entry="$REPO/src/$1" nodes=${NNODES:-1} processes threads rendezvous
    shift
    processes=$(processes_per_node "$@")
    if [[ -z ${OMP_NUM_THREADS:-} && $processes =~ ^[0-9]+$ ]]; then
        threads=$(($(nproc) / processes))
        local -x OMP_NUM_THREADS=$((threads > 0 ? threads : 1)) # local: a launcher's next command may be several processes
    fi
    # DeepSpeed, which the trainers' libraries import, looks for an accelerator and warns that there is none.
    if asks_for_cpu "$@"; then export DS_ACCELERATOR=cpu; fi
    if [[ $nodes == 1 && $processes == 1 ]]; then
        run_forwarding "$PYTHON_BIN" "$entry" "$@"
        return
    fi
    if [[ $nodes == 1 && -z ${MASTER_PORT:-} ]]; then
        # torchrun finds a free port; the address is given because a container's name may not resolve
        rendezvous=(--standalone --local_addr 127.0.0.1)
    else
        rendezvous=(--nnodes "$nodes" --node_rank "${NODE_RANK:-0}"
            --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${MASTER_PORT:-29500}")
    fi
    run_forwarding "$PYTHON_BIN" "$REPO/src/launch.py" "${rendezvous[@]}" --nproc_per_node "$processes" "$entry" "$@"
}
