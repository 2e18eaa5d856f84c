# Instructions an event, counted by callgrind: the same at every run, however busy the machine. Sourced.
#
# bench/micro/instructions.txt: architecture, compiler, step, instructions. A compiler that is not in
# it has nothing to be compared with: a note says what to add.
# shellcheck shell=bash

CALLGRIND_COUNTS=$CQRS_ROOT/bench/micro/instructions.txt

# count_instructions PROGRAM STEP DIRECTORY
count_instructions() {
    local events collected
    # One implementation of simdjson, whatever the processor.
    events=$(cd "$3" && SIMDJSON_FORCE_IMPLEMENTATION=fallback valgrind --tool=callgrind --collect-atstart=no \
        --toggle-collect=measured --callgrind-out-file=/dev/null "$1" "$2" 10 2>"$3/$2.callgrind") || return 1
    collected=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$3/$2.callgrind")
    [[ $events -gt 0 && $collected -gt 0 ]] || return 1
    echo $((collected / events))
}

# compare_instructions PROGRAM DIRECTORY: 1 if a step takes over 10 % more than is stored.
compare_instructions() {
    local program=$1 directory=$2 step now stored worse=0 key
    key="$(uname -m) g++-$(g++ -dumpfullversion)"
    for step in $("$program" --list); do
        now=$(count_instructions "$program" "$step" "$directory") || {
            echo "$step: callgrind counted nothing"
            cat "$directory/$step.callgrind"
            return 1
        }
        stored=$(sed -n "s/^$key $step //p" "$CALLGRIND_COUNTS")
        if [[ -z $stored ]]; then
            echo "not stored: $key $step $now"
        elif ((now * 10 > stored * 11)); then
            echo "$step: $now instructions an event, $stored are stored: over 10 % more"
            worse=1
        else
            echo "$step: $now instructions an event, $stored are stored"
        fi
    done
    return $worse
}
