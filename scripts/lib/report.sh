# shellcheck shell=bash
# Runs checks one by one and reports them: `ok NAME`, `SKIP NAME: why`, or `FAIL NAME: why` with what the check printed.
#
# A check is a function. It runs in a subshell under `set -e`: the first command that fails ends it, `fail` and `skip` end
# it with a reason, `note` adds a figure to its `ok` line. What it started with `start` is stopped when it ends, and what
# it changed is put right by what it told `afterwards`.
# Call run_check as a plain command: bash forgets `set -e` in whatever is part of a condition.
# Needs `scratch`, a folder.

passed=0
failed=0
skipped=0

# run_check NAME FUNCTION [ARGUMENT…]
run_check() {
    local name=$1
    shift
    rm -f "$scratch/why" "$scratch/note" "$scratch/skipped"
    (
        children=()
        farewells=()
        trap end_check EXIT
        trap 'exit 130' INT TERM
        trap unexplained ERR
        set -eE
        "$@"
    ) >"$scratch/check.log" 2>&1 </dev/null
    case $? in
        0) passed_check "$name" ;;
        130) exit 130 ;;
        *)
            failed_check "$name" "$(cat "$scratch/why" 2>/dev/null || echo "it ended early")"
            show_log "what the check printed" "$scratch/check.log"
            ;;
    esac
}

# afterwards COMMAND…: plain words, run when the check has ended, whichever way.
afterwards() {
    farewells+=("$*")
}

end_check() {
    local farewell
    set +e
    stop_children
    for farewell in "${farewells[@]}"; do
        # shellcheck disable=SC2086 # a command and its arguments
        $farewell
    done
}

# It has ended without a fault: passed_check NAME
passed_check() {
    if [[ -e $scratch/skipped ]]; then
        skipped=$((skipped + 1))
        echo "SKIP $1: $(cat "$scratch/skipped")"
    else
        passed=$((passed + 1))
        echo "ok $1$(sed 's/.*/ (&)/' "$scratch/note" 2>/dev/null)"
    fi
}

# failed_check NAME WHY
failed_check() {
    failed=$((failed + 1))
    echo "FAIL $1: $2"
}

# The line that ends a report; false when something failed.
summary() {
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0 && passed > 0))
}

# Ends the check that calls it.
fail() {
    echo "$*" | tee "$scratch/why" >&2
    exit 1
}

# Ends the check that calls it before it has judged anything: it is not counted as passed.
skip() {
    echo "$*" >"$scratch/skipped"
    exit 0
}

note() {
    echo "$*" >"$scratch/note"
}

# A command failed, and its check did not say why: the last line printed, and the functions that led there.
unexplained() {
    [[ -e $scratch/why ]] || echo "$(tail -n 1 "$scratch/check.log") (in ${FUNCNAME[*]:1:3})" >"$scratch/why"
}

# equal WHAT FOUND EXPECTED
equal() {
    [[ $2 == "$3" ]] || fail "$1 is '$2', not '$3'"
}

# contains WHAT TEXT PHRASE…: TEXT holds every PHRASE.
contains() {
    local what=$1 text=$2 phrase
    shift 2
    for phrase in "$@"; do
        [[ $text == *"$phrase"* ]] || fail "$what does not say '$phrase': $text"
    done
}

# exits CODE COMMAND…: runs it, wants that status, and leaves what it printed in `output`.
exits() {
    local wanted=$1 status=0
    shift
    output=$("$@" 2>&1) || status=$?
    printf '%s\n' "$output"
    ((status == wanted)) || fail "exit status $status, not $wanted: $*: ${output:0:300}"
}

# show_log TITLE FILE
show_log() {
    [[ -s $2 ]] || return 0
    echo "    --- $1"
    tail -n 40 "$2" | sed 's/^/    /'
}
