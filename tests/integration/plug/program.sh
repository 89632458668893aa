#!/bin/sh
# program.sh - a program as a task, of which each job asks something else. MIHWAR_TEST_DIR: where it may leave marks.
args=$(cat)
case $args in
*json*) printf '{"task":"%s","job":"%s","token":"%s","attempt":%s,"args":%s}\n' \
    "$MIHWAR_TASK" "$MIHWAR_JOB_ID" "$MIHWAR_TOKEN" "$MIHWAR_ATTEMPT" "$args" ;;
*text*)
    echo '::progress {"percent":10}' >&2
    echo 'one line of log' >&2
    echo 'hello "world"'
    ;;
*silent*) ;;
*heir*) printf '{"given":%s,"again":%s}\n' "$(cat "${MIHWAR_PREVIOUS:-/dev/null}")" "$(cat <&3)" ;;
*first*) [ -z "$MIHWAR_PREVIOUS" ] && [ ! -e /dev/fd/3 ] && echo '{"n":[1,"two"]}' ;;
*freeze*)
    echo $$ >"$MIHWAR_TEST_DIR/freeze"
    kill -STOP $$
    ;;
*dead*)
    echo 'customer 7 is not there' >&2
    exit 65
    ;;
*again*) [ "$MIHWAR_ATTEMPT" -gt 1 ] || exit 75 ;;
*later*)
    [ ! -e "$MIHWAR_TEST_DIR/later" ] || exit 0
    touch "$MIHWAR_TEST_DIR/later"
    echo '::snooze 50ms' >&2
    exit 99
    ;;
*crash*) kill -SEGV $$ ;;
*clean*) # what it was given: no socket or event of ours, no signal blocked or ignored, no key, a group of its own
    printf '{"ours":"%s","signals":"%s","keys":"%s","leader":%s}\n' "$(ls -l /proc/$$/fd | grep -c 'socket:\|anon_inode')" \
        "$(awk '/^Sig(Blk|Ign)/ { printf "%s", $2 }' /proc/$$/status)" "$MIHWAR_SEAL_KEYS" \
        "$([ "$(ps -o pgid= -p $$ | tr -d ' ')" = $$ ] && echo true || echo false)" ;;
*big*)
    head -c 10000000 /dev/zero | tr '\0' x
    head -c 5000000 /dev/zero | tr '\0' y >&2
    yes 'many lines' | head -n 100000 >&2
    ;;
*stubborn*)
    trap '' TERM
    echo $$ >"$MIHWAR_TEST_DIR/stubborn"
    while :; do sleep 1; done
    ;;
*polite*)
    trap 'echo "asked to end" >&2; exit 3' TERM
    echo $$ >"$MIHWAR_TEST_DIR/polite"
    while :; do sleep 0.05; done
    ;;
*family*) # a child in the group, and one that left it
    sleep 1000 &
    echo $! >"$MIHWAR_TEST_DIR/family1.part"
    setsid sh -c 'echo $$ >"$MIHWAR_TEST_DIR/family2"; exec sleep 1000' &
    mv "$MIHWAR_TEST_DIR/family1.part" "$MIHWAR_TEST_DIR/family1"
    wait
    ;;
*pair*)
    sleep 1000 &
    echo $! >"$MIHWAR_TEST_DIR/pair"
    wait
    ;;
*leaves*) # somebody behind, who holds the outputs
    sleep 1000 &
    echo $! >"$MIHWAR_TEST_DIR/left"
    echo '"left"'
    ;;
esac
