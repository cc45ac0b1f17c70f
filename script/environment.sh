# Sourced by common.sh: finds the project's Python environment, or makes it in .venv, and sets PYTHON_BIN.
#
# The interpreter that PYTHON names, or else the active virtual or conda environment, is used as it is if it has the
# main packages. Otherwise .venv is used, which is made from requirements.txt and kept up to date with it.
# STAMP is a copy of requirements.txt, written last. Where it differs, .venv is out of date; where it reads UNFINISHED,
# an installation was interrupted; where it is missing, .venv was made otherwise, and its packages are compared.

VENV=$REPO/.venv
REQUIREMENTS=$REPO/requirements.txt
STAMP=$VENV/installed-requirements.txt
UNFINISHED="installation not finished"
LOG=$VENV/install.log
NEEDED_GB=10 # the environment takes 6 GB, pip's downloads 3 GB
MAIN_PACKAGES=(torch transformers trl peft accelerate datasets numpy librosa soundfile pydantic yaml) # module names

# Run by `examine` in an interpreter: fails outside the range of pyproject.toml. No imports: torch takes seconds.
QUESTIONS='
import importlib.metadata, importlib.util, re, sys

sys.path[:] = [path for path in sys.path if path]  # the folder of the caller may contain one named like a package
repository, main_packages = sys.argv[1], sys.argv[2:]
project = open(repository + "/pyproject.toml", encoding="utf-8").read()
lowest, above = re.search(r"^requires-python = \">=3\.(\d+),<3\.(\d+)\"", project, re.MULTILINE).groups()
if not (3, int(lowest)) <= sys.version_info[:2] < (3, int(above)):
    sys.exit(1)
unmet = []
requirements = open(repository + "/requirements.txt", encoding="utf-8").read()
for name, pinned in re.findall(r"^([\w.-]+)\s*={2,3}\s*([^\s;#]+)", requirements, re.MULTILINE):
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        unmet.append(name + " is missing")
        continue
    if version.partition("+")[0] != pinned.partition("+")[0]:  # a label such as +cu126 distinguishes builds of one version
        unmet.append(name + " is " + version + ", not " + pinned)
missing = [name for name in main_packages if importlib.util.find_spec(name) is None]
version = "%d.%d" % sys.version_info[:2]
print("|".join([sys.executable, sys._base_executable, version, ", ".join(missing), "; ".join(unmet)]))
'

say() {
    echo "$*" >&2
}

# examine PYTHON: fails where it does not run or is out of range; sets EXECUTABLE, BASE (the interpreter that a virtual
# environment was made with), VERSION (3.11), MISSING (main packages) and UNMET (pins).
examine() {
    local answer
    answer=$("$1" -c "$QUESTIONS" "$REPO" "${MAIN_PACKAGES[@]}" 2>/dev/null) || return
    IFS='|' read -r EXECUTABLE BASE VERSION MISSING UNMET <<<"$answer"
}

python_range() {
    sed -n 's/^requires-python = "\(.*\)"/\1/p' "$REPO/pyproject.toml"
}

# try_environment PYTHON WHAT: uses an interpreter that has the main packages as it is, or notes in REJECTED why not.
try_environment() {
    if ! examine "$1"; then
        REJECTED+="${REJECTED:+; }$2 is not used: it has no Python in the range $(python_range)"
    elif [[ ${EXECUTABLE%/bin/*} -ef $VENV ]]; then
        return 1 # the project's .venv is checked by its stamp, also if it is active
    elif [[ -n $MISSING ]]; then
        REJECTED+="${REJECTED:+; }$2 is not used: it has no $MISSING"
    else
        say "using $2${UNMET:+, which differs from requirements.txt: $UNMET}"
        PYTHON_BIN=$EXECUTABLE
        return 0
    fi
    return 1
}

# The state of .venv: ready; behind, if requirements.txt can be installed over it; or broken, to be made again.
venv_state() {
    if [[ ! -x $VENV/bin/python || (-n $WANTED_VERSION && ! -d $VENV/lib/python$WANTED_VERSION) ]]; then
        echo broken
    elif [[ ! -e $STAMP ]]; then
        if ! examine "$VENV/bin/python"; then echo broken; elif [[ -z $MISSING$UNMET ]]; then echo ready; else echo behind; fi
    elif cmp -s "$REQUIREMENTS" "$STAMP"; then
        echo ready
    elif [[ $(<"$STAMP") == "$UNFINISHED" ]]; then
        echo broken
    else
        echo behind
    fi
}

# Sets BASE to the interpreter that makes .venv.
find_base() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python)
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if examine "$candidate"; then return; fi
    done
    fail "no Python in the range $(python_range): install one, or name it with PYTHON="
}

require_disk() {
    local free
    read -r _ _ _ free _ < <(df -Pk "$REPO" | tail -n 1) # in KiB
    free=$((free * 1024 / 1000000000))
    if ((free < NEEDED_GB)); then fail "$VENV: the installation needs $NEEDED_GB GB of disk, $free GB are free"; fi
}

# run_logged WHAT COMMAND...: runs it with its output in the log, or ends with the line of the log that has the reason.
run_logged() {
    local line hint=""
    if "${@:2}" >>"$LOG" 2>&1; then return; fi
    line=$(grep -iE '^ *error' "$LOG" | tail -n 1) || line=$(grep . "$LOG" | tail -n 1) || line="no output"
    if grep -q "No space left on device" "$LOG"; then
        hint=" (the disk is full)"
    elif grep -qiE "Retrying \(|NewConnectionError|from versions: none|dns error|error sending request" "$LOG"; then
        hint=" (is the package index within reach? Check the network, or pip's proxy and index settings)"
    elif [[ $line == *"No module named pip"* ]]; then
        hint=" (remove $VENV: the next start makes it anew)"
    fi
    fail "$1: $line$hint; full log: $LOG"
}

make_venv() {
    find_base
    require_disk
    rm -rf "$VENV"
    mkdir "$VENV"
    echo "$UNFINISHED" >"$STAMP"
    if command -v uv >/dev/null; then
        run_logged "uv could not make $VENV" uv venv --seed --allow-existing --python "$BASE" "$VENV"
    elif "$BASE" -c 'import ensurepip' 2>/dev/null; then
        run_logged "$BASE could not make $VENV" "$BASE" -m venv "$VENV"
    else
        fail "$BASE cannot make an environment: install its venv module (Debian, Ubuntu: python$VERSION-venv)"
    fi
}

install_requirements() {
    local python=$VENV/bin/python
    echo "$UNFINISHED" >"$STAMP"
    : >"$LOG"
    say "installing $(grep -c == "$REQUIREMENTS") packages and what they need into $VENV (about 2 minutes, 6 GB) ..."
    if command -v uv >/dev/null; then
        run_logged "uv failed" uv pip install --python "$python" -r "$REQUIREMENTS"
    else
        run_logged "pip failed" "$python" -m pip install --disable-pip-version-check --no-input -r "$REQUIREMENTS"
    fi
    cp "$REQUIREMENTS" "$STAMP.new"
    mv "$STAMP.new" "$STAMP"
}

# In a subshell, whose end releases the lock.
install_environment() (
    [[ -w $REPO ]] || fail "$REPO is not writable: activate an environment that has the packages, or name one with PYTHON="
    exec 9>"$REPO/.venv.lock"
    if ! flock --nonblock 9; then
        say "waiting for another start that installs into $VENV ..."
        flock 9
    fi
    state=$(venv_state)
    if [[ $state == ready ]]; then return; fi # another start has just made it
    if [[ -n $REJECTED ]]; then say "note: $REJECTED"; fi
    if [[ $state == broken ]]; then make_venv; fi
    install_requirements
)

find_environment() {
    local folder
    REJECTED="" WANTED_VERSION=""
    if [[ -n ${PYTHON:-} ]]; then
        examine "$PYTHON" || fail "PYTHON=$PYTHON is not a Python in the range $(python_range)"
        if try_environment "$PYTHON" "$EXECUTABLE"; then return; fi
        WANTED_VERSION=$VERSION
    else
        for folder in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
            if [[ -z $folder || ! -x $folder/bin/python ]]; then continue; fi
            if try_environment "$folder/bin/python" "the active environment $folder"; then return; fi
        done
    fi
    PYTHON_BIN=$VENV/bin/python
    if [[ $(venv_state) == ready ]]; then return; fi
    # Nodes of a cluster share the disk and start together.
    [[ ${NNODES:-1} == 1 ]] || fail "no usable environment on this node: run script/setup.sh first${REJECTED:+ ($REJECTED)}"
    install_environment
}

find_environment
