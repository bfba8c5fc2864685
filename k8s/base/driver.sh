#!/bin/bash
# First process of a driver's pod: a Ray node and the driver beside it, which must share a pid namespace, /tmp/ray and
# /dev/shm. If one of the two ends, the pod ends, and the operator makes another. Told to stop, the driver drains first,
# while its Ray node still carries what it sends; then the node goes.
set -u
ulimit -n "${RAY_START_ULIMIT_OPEN_FILES:-65536}" 2> /dev/null || true

stopping=
driver=
told=
# Once: a second SIGTERM would tell the driver to hurry.
stop_driver() {
    if [ -n "$driver" ] && [ -z "$told" ]; then
        told=1
        kill -TERM "$driver" 2> /dev/null
    fi
}
trap 'stopping=1; stop_driver' TERM INT

# Ray's own processes, and so whatever runs on this node, are not given the database.
env -u DRAY_DATABASE_URL -u DRAY_DIRECT_URL bash -c "exec $KUBERAY_GEN_RAY_START_CMD" &
ray=$!

healthy() {
    python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' \
        "${RAYLET_HEALTH_URL:-http://127.0.0.1:52365/api/local_raylet_healthz}" 2> /dev/null
}
until [ -n "$stopping" ] || healthy; do
    kill -0 "$ray" 2> /dev/null || break
    sleep 1
done

code=1
if [ -z "$stopping" ] && kill -0 "$ray" 2> /dev/null; then
    dray worker &
    driver=$!
    [ -z "$stopping" ] || stop_driver
    wait -n "$ray" "$driver"
    if [ -z "$stopping" ]; then
        echo "driver.sh: the Ray node or the driver ended by itself: this pod ends too" >&2
        stop_driver
    fi
    while kill -0 "$driver" 2> /dev/null; do wait "$driver"; done
    wait "$driver"
    ended=$?
    [ -z "$stopping" ] || code=$ended
elif [ -n "$stopping" ]; then
    code=0
fi
kill -TERM "$ray" 2> /dev/null
while kill -0 "$ray" 2> /dev/null; do wait "$ray"; done
exit "$code"
