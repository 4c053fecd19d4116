#!/bin/sh
# Prints a C file that holds the migrations NUMBER_NAME.sql of a folder, in number order:
#     sh sql/embed.sh sql/migrations > build/sql/migrations.c
# sed, basename and a shell are all it needs. Every byte of the SQL but NUL comes through: what C
# would read otherwise (backslash, quote, and '?' because of trigraphs) is escaped.
set -eu
LC_ALL=C
export LC_ALL

fail() {
    echo "embed.sh: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: sh sql/embed.sh FOLDER"
echo "/* Made by sql/embed.sh: edit the .sql files instead. */"
echo "#include \"sql/migrations.h\""
echo
echo "const struct migration MIGRATIONS[] = {"
count=0
for file in "$1"/*.sql; do
    [ -r "$file" ] || fail "no migrations in \"$1\""
    base=$(basename "$file" .sql)
    case $base in
    [0-9][0-9][0-9][0-9]_?*) ;;
    *) fail "\"$file\" is not named like 0001_initial.sql" ;;
    esac
    name=${base#?????}
    case $name in
    *[!a-z0-9_]*) fail "\"$file\": the name may hold a-z, 0-9 and _ only" ;;
    esac
    number=${base%"_$name"}
    while [ "${number#0}" != "$number" ]; do    # C would read 0010 as eight
        number=${number#0}
    done
    count=$((count + 1))
    # Sorted by name is sorted by number, as all have four digits; and without gaps, so that "schema
    # 3" means that 1, 2 and 3 were applied.
    [ "$number" = "$count" ] || fail "\"$file\": expected number $count here"
    echo "    { $number, \"$name\", \"\""    # "": an empty file is a text too
    sed -e 's/[\\"?]/\\&/g' -e 's/.*/      "&\\n"/' "$file"
    echo
    echo "    },"
done
echo "};"
echo "const size_t MIGRATION_COUNT = sizeof MIGRATIONS / sizeof MIGRATIONS[0];"
