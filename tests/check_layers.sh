#!/bin/sh
# Fails on an #include that the layers do not allow. The table is the one in README.md, "Where things
# are": proto < base < (kernels, sql) < (worker, broker, client); broker and worker never meet.
set -eu
cd "$(dirname "$0")/.."
bad=0

complain() {
    echo "layers: $*"
    bad=1
}

# folder: what it may include of ours, then the foreign headers that it alone may see
rules='
proto    proto                       msgpack.h openssl/
base     base,proto                  ini.h microhttpd.h zmq.h cbor.h openssl/ uthash.h utlist.h
kernels  kernels,base,proto          cjson/ jpeglib.h jerror.h jconfig.h
kernels/cuda kernels,base,proto      cuda
sql      sql,base,proto              libpq-fe.h
worker   worker,kernels,sql,base,proto utlist.h
broker   broker,sql,base,proto       uthash.h utlist.h
client   client,kernels,sql,base,proto archive.h archive_entry.h cjson/ png.h uthash.h utlist.h webp/
client/gateway client,kernels,base,proto cjson/ microhttpd.h openssl/ uthash.h utlist.h
'
foreign='cuda cublas msgpack openssl/ ini.h zmq cjson/ jpeglib jerror jconfig turbojpeg libpq png.h uthash utlist sodium microhttpd archive webp/ cbor'

echo "$rules" | while read -r folder ours theirs; do
    [ -n "$folder" ] || continue
    for file in "$folder"/*.c "$folder"/*.h "$folder"/*.cu "$folder"/*.cuh; do
        [ -f "$file" ] || continue
        sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file" | while read -r header; do
            case ",$ours," in
            *",${header%%/*},"*) ;;
            *) complain "$file includes \"$header\"; $folder may include $ours" ;;
            esac
            [ "$bad" = 0 ] || exit 1
        done || exit 1
        sed -n 's/^#include <\([^>]*\)>.*/\1/p' "$file" | while read -r header; do
            for f in $foreign; do
                case $header in
                "$f"*) ;;
                *) continue ;;
                esac
                allowed=0
                for t in ${theirs:-}; do
                    case $header in "$t"*) allowed=1 ;; esac
                done
                [ $allowed = 1 ] || { complain "$file includes <$header>"; exit 1; }
            done
        done || exit 1
    done
done || exit 1

# Single doors: one module sees these.
for door in 'zmq.h:base/link*.c' ini.h:base/settings.c microhttpd.h:base/http.c cbor.h:base/concise.c; do
    for file in $(grep -l "#include <${door%%:*}>" base/*.[ch] proto/*.[ch] kernels/*.[ch] sql/*.[ch] \
        worker/*.[ch] broker/*.[ch] client/*.[ch] 2>/dev/null); do
        case $file in
        ${door##*:}) ;;
        *) complain "$file includes <${door%%:*}>"; exit 1 ;;
        esac
    done
done
# The gateway's own door to HTTP has four modules: who answers sees none of it.
for file in $(grep -l "#include <microhttpd.h>" client/gateway/*.[ch]); do
    case $file in
    client/gateway/server.c | client/gateway/visit.c | client/gateway/response.c | \
        client/gateway/stream.c) ;;
    *) complain "$file includes <microhttpd.h>"; exit 1 ;;
    esac
done
# What is installed needs nothing of ours.
if grep -q '#include "' client/seedpress.h; then
    complain "client/seedpress.h includes a header of ours"
    exit 1
fi
echo "layers: hold"
