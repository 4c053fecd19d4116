#include "tests/kit_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

const char *json_string(const cJSON *object, const char *name)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(object, name));

    if (!value)
        fail_msg("no string \"%s\"", name);
    return value;
}

double json_number(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItem(object, name);

    if (!cJSON_IsNumber(value))
        fail_msg("no number \"%s\"", name);
    return value->valuedouble;
}
