#!/bin/sh
# Prints a C file that holds a text file as the array NAME, ended by NUL:
#     sh client/gateway/embed.sh OPENAPI client/gateway/openapi.json > build/client/gateway/openapi.c
# What C would read otherwise (backslash, quote, and '?' because of trigraphs) is escaped.
set -eu
LC_ALL=C
export LC_ALL

[ $# -eq 2 ] && [ -r "$2" ] || {
    echo "embed.sh: usage: sh client/gateway/embed.sh NAME FILE" >&2
    exit 1
}
echo "/* Made by client/gateway/embed.sh: edit $2 instead. */"
echo "extern const char $1[];"
echo "const char $1[] ="
sed -e 's/[\\"?]/\\&/g' -e 's/.*/    "&\\n"/' "$2"
echo "    ;"
