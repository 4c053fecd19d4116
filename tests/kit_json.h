/* kit_json -- values in what a program or a server said. What is not there fails the test through
 * cmocka, by its name. */
#ifndef TESTS_KIT_JSON_H
#define TESTS_KIT_JSON_H

#include <cjson/cJSON.h>

const char *json_string(const cJSON *object, const char *name);     /* lent by object */
double json_number(const cJSON *object, const char *name);

#endif
