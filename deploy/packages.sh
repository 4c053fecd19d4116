#!/bin/sh
# Installs the Debian or Ubuntu packages that a goal needs and that are not there yet:
#     deploy/packages.sh build|demo|test|bench
# Shows the line that it runs. As root it runs it, else through sudo; where there is neither, it says
# what is missing and stops. Plain `make` never calls this.
set -eu

say() {
    echo "packages: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

build="gcc libc6-dev make pkg-config libzmq3-dev libpq-dev libssl-dev libjpeg62-turbo-dev
       libpng-dev libwebp-dev libcjson-dev libinih-dev libmicrohttpd-dev libarchive-dev
       libcbor-dev uthash-dev"
demo="$build postgresql"
test="$demo g++ libcmocka-dev libimage-exiftool-perl python3 python3-zmq python3-msgpack nodejs
      npm openssl nginx-light python3-jsonschema chromium python3-pytest python3-pil
      python3-numpy mypy python3-setuptools"

bench="$test libopenblas-dev libdnnl-dev curl wrk nginx-light"

case ${1:-} in
build) wanted=$build ;;
demo) wanted=$demo ;;
test) wanted=$test ;;
bench) wanted=$bench ;;
*) fail "usage: deploy/packages.sh build|demo|test|bench" ;;
esac

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "this is no Debian or Ubuntu; install what these packages hold, then run 'make':" $wanted

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The same thing has another name on Ubuntu and on later Debian.
is_installed_as() {
    is_installed "$1" || case $1 in
    libjpeg62-turbo-dev) is_installed libjpeg-turbo8-dev ;;
    libmsgpack-dev) is_installed libmsgpack-c-dev ;;
    pkg-config) is_installed pkgconf ;;
    nodejs) command -v node >/dev/null ;;       # wherever they come from
    npm) command -v npm >/dev/null ;;
    *) return 1 ;;
    esac
}

available() {
    [ -n "$(apt-cache show "$1" 2>/dev/null)" ]
}

missing=
for package in $wanted libmsgpack-dev; do
    is_installed_as "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root="sudo "
else
    fail "neither root nor sudo here; as root, run: apt-get install -y --no-install-recommends$missing"
fi

say "reading the lists of packages: ${as_root}apt-get update"
${as_root}apt-get -qq update || say "could not read the lists anew; going on with the old ones"

names=
for package in $missing; do
    case $package in
    libjpeg62-turbo-dev) available "$package" || package=libjpeg-turbo8-dev ;;
    libmsgpack-dev) available libmsgpack-c-dev && package=libmsgpack-c-dev ;;
    esac
    names="$names $package"
done

# PostgreSQL's packages make and start a server of their own on port 5432 when they are first
# installed. Nobody asked for that one: for this one installation it is switched off.
quiet=/etc/postgresql-common/createcluster.d/seedpress-no-cluster.conf
case $names in
*postgresql*)
    if [ ! -d /etc/postgresql ]; then
        ${as_root}mkdir -p "${quiet%/*}"
        echo "create_main_cluster = false" | ${as_root}tee "$quiet" >/dev/null
        trap '${as_root}rm -f "$quiet"' EXIT
    fi
    ;;
esac

say "installing what is missing:"
say "${as_root}apt-get install -y --no-install-recommends$names"
${as_root}env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $names \
    >&2 || fail "could not install:$names"
