#!/bin/sh
# A whole seedpress on this machine: a private PostgreSQL, a broker, a worker with the shipped model
# and those that the user puts into BUILD/demo/models, and a gateway with the sites of deploy/sites.
#     deploy/demo.sh start BUILD     starts what does not run yet, renders 16 pictures, leaves it running;
#                                    starts the worker anew when the models are not those it has read
#     deploy/demo.sh stop BUILD      ends what start began, and nothing else
# Everything lies under BUILD/demo. `make demo` and `make demo-stop` call this.
set -eu

MODEL=avatars64

say() {
    echo "demo: $*"
}

fail() {
    echo "demo: $*" >&2
    exit 1
}

[ $# -eq 2 ] || fail "usage: deploy/demo.sh start|stop BUILD"
[ -f deploy/demo.sh ] || fail "run it from the repository's root"
mkdir -p "$2"
build=$(cd "$2" && pwd)
demo=$build/demo
PATH=$build:$PATH

# ---- processes: a pid counts only while its program is ours ----

is_running() {
    pid=$(cat "$demo/$1.pid" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | head -n 1 | grep -Fqx "$build/$1"
}

start_program() {
    name=$1
    shift
    : >"$demo/$name.log"
    setsid "$build/$name" "$@" >>"$demo/$name.log" 2>&1 </dev/null &
    echo $! >"$demo/$name.pid"
}

# Waits up to 30 s for word in the program's log.
wait_for() {
    tries=0
    until grep -q " $2 " "$demo/$1.log"; do
        # For an instant after its start the process is still the shell that starts it.
        is_running "$1" || [ $tries -lt 10 ] || return 1
        tries=$((tries + 1))
        [ $tries -lt 150 ] || return 1
        sleep 0.2
    done
}

stop_program() {
    if is_running "$1"; then
        say "stopping $1"
        kill "$pid"
        while is_running "$1"; do
            sleep 0.1
        done
    fi
    rm -f "$demo/$1.pid"
}

# ---- start ----

endpoint_of() {
    sed -n "s/.* broker_ready .*$1=\([^ ]*\).*/\1/p" "$demo/seedpress-broker.log" | tail -n 1
}

start_broker() {
    start_program seedpress-broker --ledger "$ledger"
    if ! wait_for seedpress-broker broker_ready; then
        grep -q "could not listen" "$demo/seedpress-broker.log" ||
            fail "the broker did not start: $(tail -n 1 "$demo/seedpress-broker.log")"
        say "ports 7701 to 7703 are taken by something else; using free ones"
        start_program seedpress-broker --ledger "$ledger" --listen 'tcp://127.0.0.1:*' \
            --worker-listen 'tcp://127.0.0.1:*' --metrics-listen 127.0.0.1:0
        wait_for seedpress-broker broker_ready ||
            fail "the broker did not start: $(tail -n 1 "$demo/seedpress-broker.log")"
    fi
}

# What the worker would read now. A link stands for the shipped model, so that it is always the newest.
list_models() {
    ls -lL --time-style=full-iso "$demo/models" 2>/dev/null || :
}

link_shipped_models() {
    mkdir -p "$demo/models"
    for model in "$PWD"/deploy/models/*.safetensors; do
        ln -sf "$model" "$demo/models/"
    done
}

start_worker() {
    say "starting a worker with the models of ${demo#"$PWD"/}/models"
    list_models >"$demo/models.read"
    start_program seedpress-worker --ledger "$ledger" --brokers "$(endpoint_of workers)" \
        --models-dir "$demo/models"
    wait_for seedpress-worker broker_joined ||
        fail "the worker did not start: $(tail -n 1 "$demo/seedpress-worker.log")"
    sed -n -e 's/.* model_refused file=\(.*\) reason="\(.*\)"$/demo: not served: \1: \2/p' \
        -e 's/.* name_is_taken name=\([^ ]*\) .* hint="\(.*\)"$/demo: \1 is still another model: \2/p' \
        "$demo/seedpress-worker.log" >&2
}

start_gateway() {
    set -- --broker "$broker" --sites "$PWD/deploy/sites"
    start_program seedpress-gateway "$@"
    if ! wait_for seedpress-gateway gateway_ready; then
        grep -q "could not listen" "$demo/seedpress-gateway.log" ||
            fail "the gateway did not start: $(tail -n 1 "$demo/seedpress-gateway.log")"
        say "port 7780 is taken by something else; using a free one"
        start_program seedpress-gateway "$@" --listen 127.0.0.1:0
        wait_for seedpress-gateway gateway_ready ||
            fail "the gateway did not start: $(tail -n 1 "$demo/seedpress-gateway.log")"
    fi
}

address_of_sites() {
    sed -n 's/.* gateway_ready .*listen=\([^ ]*\).*/http:\/\/\1\//p' "$demo/seedpress-gateway.log" |
        tail -n 1
}

start() {
    mkdir -p "$demo"
    link_shipped_models
    say "starting a private PostgreSQL under ${demo#"$PWD"/}/pg (no TCP port)"
    deploy/postgres.sh start "$demo/pg"
    ledger=$(deploy/postgres.sh conninfo "$demo/pg")
    say "bringing its tables up to date"
    seedpress ledger migrate --ledger "$ledger"

    if is_running seedpress-broker; then
        say "the broker runs already"
    else
        say "starting the broker"
        start_broker
        stop_program seedpress-gateway      # it would ask where the one before was
    fi
    broker=$(endpoint_of clients)
    if is_running seedpress-worker && [ "$(list_models)" != "$(cat "$demo/models.read" 2>&1)" ]; then
        say "the models have changed"
        stop_program seedpress-worker
    fi
    if is_running seedpress-worker; then
        say "the worker runs already"
    else
        start_worker
    fi
    if is_running seedpress-gateway; then
        say "the gateway runs already"
    else
        say "starting the gateway"
        start_gateway
    fi
    cat >"$demo/env" <<END
export PATH='$build':"\$PATH"
export SEEDPRESS_BROKER='$broker'
export SEEDPRESS_LEDGER='$ledger'
END

    say "asking the broker at $broker for seeds 0-15 of $MODEL"
    seedpress --broker "$broker" generate --model $MODEL --seeds 0-15 --psi 0.7 -o "$demo/pictures"
    say "what the ledger knows of the first one:"
    seedpress --broker "$broker" provenance "$demo/pictures/seed0000.jpg"
    cat <<END

The pictures are in ${demo#"$PWD"/}/pictures: seed0000.jpg to seed0015.jpg.
seedpress is running. Open the sites:
    $(address_of_sites)
Go on with:
    . ${demo#"$PWD"/}/env
    seedpress generate --model $MODEL --seeds 42 -o 42.jpg
    seedpress provenance 42.jpg
    seedpress status
    cp YOURS.pkl ${demo#"$PWD"/}/models/ && make demo     # your own StyleGAN, as model YOURS
    make demo-stop          # ends it; pictures, models and the ledger stay
END
}

# ---- stop ----

stop() {
    [ -d "$demo" ] || { say "nothing was started here"; exit 0; }
    stop_program seedpress-gateway
    stop_program seedpress-worker
    stop_program seedpress-broker
    [ ! -d "$demo/pg" ] || deploy/postgres.sh stop "$demo/pg"
    say "stopped; pictures, models and ledger stay in ${demo#"$PWD"/}"
}

case $1 in
start) start ;;
stop) stop ;;
*) fail "usage: deploy/demo.sh start|stop BUILD" ;;
esac
