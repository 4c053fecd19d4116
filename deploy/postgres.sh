#!/bin/sh
# A private PostgreSQL for a demo, a test or one machine: everything of it lies under one folder,
# and it listens on no TCP port, so that it never meets another PostgreSQL of this machine.
#     deploy/postgres.sh start DIR      makes the cluster if there is none, starts it, waits for it
#     deploy/postgres.sh stop DIR       stops this cluster and no other; its data stays
#     deploy/postgres.sh status DIR     says running (0) or stopped (1)
#     deploy/postgres.sh conninfo DIR   prints where it is, for --ledger and for libpq
# Exit: 0 done; 1 not possible, or the answer is no; 2 usage.
#
# Environment:
#     SEEDPRESS_PG_FSYNC=off       faster, and loses data when the machine goes down: for tests
#     SEEDPRESS_PG_STOP=immediate  stops as a crash would; the next start recovers. For tests
#
# Who may connect is decided by the socket's folder (mode 0700) alone. PostgreSQL refuses to run as
# root: for root the server runs as user postgres, and where that user cannot reach DIR, such as
# below /root, with the two capabilities that let it through.
set -eu
umask 077

DATABASE=seedpress
ROLE=seedpress
PORT=5432                       # only part of the socket's name
SOCKET_PATH_MAX=107             # sun_path, less its NUL

say() {
    echo "postgres.sh: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

usage() {
    say "usage: deploy/postgres.sh start|stop|status|conninfo DIR"
    exit 2
}

# ---- who and where ----

# The folder of the server's programs: of the version that made the data, else the newest.
find_programs() {
    if [ -n "${version:-}" ] && [ -x "/usr/lib/postgresql/$version/bin/initdb" ]; then
        echo "/usr/lib/postgresql/$version/bin"
        return
    fi
    newest=
    for folder in /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] || continue
        number=${folder#/usr/lib/postgresql/}
        number=${number%/bin}
        if [ -z "$newest" ] || [ "${number%%.*}" -gt "${newest%%.*}" ] 2>/dev/null; then
            newest=$number
        fi
    done
    if [ -n "$newest" ]; then
        echo "/usr/lib/postgresql/$newest/bin"
    elif found=$(command -v initdb); then
        dirname "$(readlink -f "$found" 2>/dev/null || echo "$found")"
    fi
}

# Decides how as_server runs a program: prefix is "", or a setpriv command line.
choose_server_user() {
    prefix=
    server_user=$(id -un)
    [ "$(id -u)" -eq 0 ] || return 0
    command -v setpriv >/dev/null ||
        fail "setpriv is missing; install it with: apt-get install util-linux"
    server_user=postgres
    if [ -d "$data" ]; then
        # shellcheck disable=SC2012    # user names hold nothing that ls would change
        owner=$(ls -ld "$data" | awk '{ print $3 }')
        [ "$owner" = root ] || server_user=$owner
    fi
    id "$server_user" >/dev/null 2>&1 ||
        fail "there is no user \"$server_user\"; install it with: apt-get install postgresql"
    prefix="setpriv --reuid=$server_user --regid=$(id -g "$server_user") --clear-groups"
    # ls and not test: access(2), under test, does not count capabilities.
    $prefix ls -ld "$dir/." >/dev/null 2>&1 && return 0
    prefix="$prefix --inh-caps=-all,+dac_override,+dac_read_search"
    prefix="$prefix --ambient-caps=-all,+dac_override,+dac_read_search"
    $prefix ls -ld "$dir/." >/dev/null 2>&1 ||
        fail "user \"$server_user\" cannot reach \"$dir\"; choose another folder"
}

# The server does not inherit our standard input, nor descriptor 9 and its lock.
as_server() {
    (cd / && exec $prefix "$@" </dev/null 9>&-)
}

give_to_server() {
    [ -z "$prefix" ] || chown "$server_user" "$@"
}

# The process of this cluster, if it runs. The file stays behind after a crash, and its number may
# by now be another program's: only a command line that names our data counts.
server_pid() {
    pid=$(sed -n 1p "$data/postmaster.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    if [ -d /proc/self ]; then
        tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -Fqx -- "$data" || return 1
    fi
    kill -0 "$pid" 2>/dev/null || return 1
    echo "$pid"
}

# ---- the socket's folder ----

# In DIR when its name is short and plain enough for the kernel and for PostgreSQL's list of
# folders; else a folder of its own, whose name is remembered in DIR/socket.path.
socket_folder() {
    if [ -s "$dir/socket.path" ]; then
        cat "$dir/socket.path"
    else
        echo "$dir/socket"
    fi
}

is_usable_socket_folder() {
    case $1 in
    *[!A-Za-z0-9/._-]*) return 1 ;;
    esac
    path=$1/.s.PGSQL.$PORT
    [ ${#path} -le $SOCKET_PATH_MAX ]
}

is_ours() {
    [ -n "$(find "$1" -prune -type d -user "$server_user" -perm 0700 2>/dev/null)" ]
}

make_socket_folder() {
    if is_usable_socket_folder "$dir/socket"; then
        rm -f "$dir/socket.path"
        [ -d "$dir/socket" ] || mkdir -m 0700 "$dir/socket"
    else
        # The same name as last time if it is free or still ours, so that conninfo stays true.
        old=$(cat "$dir/socket.path" 2>/dev/null || true)
        if [ -z "$old" ] || ! { mkdir -m 0700 "$old" 2>/dev/null || is_ours "$old"; }; then
            name=seedpress-pg.XXXXXX
            parent=${TMPDIR:-/tmp}
            is_usable_socket_folder "$parent/$name" || parent=/tmp
            mktemp -d "$parent/$name" >"$dir/socket.path"
        fi
    fi
    sockets=$(socket_folder)
    rm -f "$sockets/.s.PGSQL.$PORT" "$sockets/.s.PGSQL.$PORT.lock"
    give_to_server "$sockets"
}

remove_socket_folder() {
    [ -s "$dir/socket.path" ] || return 0
    sockets=$(socket_folder)
    rm -f "$sockets/.s.PGSQL.$PORT" "$sockets/.s.PGSQL.$PORT.lock" 2>/dev/null || true
    rmdir "$sockets" 2>/dev/null || true
}

# ---- start ----

# Under another name until it is whole: an interrupted initdb leaves nothing that looks like data.
make_cluster() {
    rm -rf "$dir/data.new"
    mkdir -m 0700 "$dir/data.new"
    give_to_server "$dir/data.new"
    sync_option=
    [ "${SEEDPRESS_PG_FSYNC:-on}" = on ] || sync_option=--no-sync
    for locale in C.UTF-8 C; do
        if as_server "$programs/initdb" -D "$dir/data.new" -U "$ROLE" -A trust -E UTF8 \
            --locale="$locale" --no-instructions $sync_option >"$dir/initdb.log" 2>&1; then
            echo "local all all trust" >"$dir/data.new/pg_hba.conf"
            mv "$dir/data.new" "$data"
            rm -f "$dir/initdb.log"
            return 0
        fi
        # initdb empties the folder when it fails; a next try may use it again.
    done
    cat "$dir/initdb.log" >&2
    fail "could not make a database cluster in \"$dir\""
}

run_psql() {
    as_server "$programs/psql" -X -q -A -t -h "$sockets" -p "$PORT" -U "$ROLE" -d postgres -c "$1"
}

start() {
    mkdir -p "$dir"
    if command -v flock >/dev/null; then        # two starts at once: the second finds it running
        exec 9>"$dir/lock"
        flock 9
    fi
    choose_server_user
    [ -d "$data" ] || make_cluster
    if ! server_pid >/dev/null; then
        # What a crash leaves behind. PostgreSQL removes postmaster.pid itself while no process has
        # the number, else it would refuse to start; leftover backends it finds by their memory.
        stale=$(sed -n 1p "$data/postmaster.pid" 2>/dev/null || true)
        if [ -n "$stale" ] && kill -0 "$stale" 2>/dev/null; then
            rm -f "$data/postmaster.pid"
        fi
        make_socket_folder
        touch "$dir/log"
        give_to_server "$dir/log"
        options="-c listen_addresses='' -c port=$PORT -c unix_socket_directories='$sockets'"
        options="$options -c unix_socket_permissions=0700"
        options="$options -c max_connections=50 -c shared_buffers=64MB"
        if [ "${SEEDPRESS_PG_FSYNC:-on}" != on ]; then
            options="$options -c fsync=off -c full_page_writes=off"
        fi
        if ! as_server "$programs/pg_ctl" start -w -t 60 -s -D "$data" -l "$dir/log" \
            -o "$options" >/dev/null; then
            tail -n 5 "$dir/log" >&2
            fail "could not start PostgreSQL in \"$dir\"; its log is \"$dir/log\""
        fi
    fi
    sockets=$(socket_folder)
    if [ -z "$(run_psql "SELECT 1 FROM pg_database WHERE datname = '$DATABASE'")" ]; then
        run_psql "CREATE DATABASE $DATABASE"
    fi
}

# ---- stop, status, conninfo ----

stop() {
    [ -d "$data" ] || return 0
    choose_server_user
    if server_pid >/dev/null; then
        as_server "$programs/pg_ctl" stop -w -t 60 -s -D "$data" -m "${SEEDPRESS_PG_STOP:-fast}" ||
            fail "could not stop PostgreSQL in \"$dir\"; its log is \"$dir/log\""
    fi
    remove_socket_folder
}

status() {
    if server_pid >/dev/null; then
        echo running
    else
        echo stopped
        exit 1
    fi
}

conninfo() {
    [ -d "$data" ] ||
        fail "no database cluster in \"$dir\"; make it with: deploy/postgres.sh start $dir"
    echo "host=$(socket_folder) port=$PORT dbname=$DATABASE user=$ROLE"
}

[ $# -eq 2 ] || usage
verb=$1
case $verb in
start | stop | status | conninfo) ;;
*) usage ;;
esac
# What the caller has set for another PostgreSQL is not meant for this one.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGPASSWORD PGPASSFILE PGSERVICE \
    PGSERVICEFILE PGSSLMODE PGAPPNAME PGCLIENTENCODING 2>/dev/null || true
if [ "$verb" = start ]; then
    mkdir -p "$2" || fail "could not make the folder \"$2\""
fi
dir=$(cd -P "$2" 2>/dev/null && pwd) || {
    [ "$verb" = stop ] && exit 0
    fail "there is no folder \"$2\""
}
data=$dir/data
if [ "$verb" = start ] || [ "$verb" = stop ]; then
    version=$(cat "$data/PG_VERSION" 2>/dev/null || true)
    programs=$(find_programs)
    [ -n "$programs" ] ||
        fail "no PostgreSQL server found; install it with: apt-get install postgresql"
fi
$verb
