/* Which device is checked; without one there is nothing to check. */
#include "tests/gpu/check.h"
#include "tests/gpu/rig.h"

#include <stdio.h>
#include <stdlib.h>

int check_device(void)
{
    int devices = seedpress_backend.device_count(), missed = 0;

    if (devices < 1) {
        puts("there is no CUDA device here, or no driver that works: nothing was checked");
        exit(2);
    }
    missed += check_that(seedpress_backend.abi == BACKEND_ABI, "the table's interface is %d",
                         BACKEND_ABI);
    for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
        const struct backend_options options = { .precision = (enum precision)p };
        struct engine *engine = NULL;
        struct err e = { 0 };

        if (seedpress_backend.open(&options, &engine, &e)) {
            missed += check_no_error(1, e.msg, "an engine of %s opens",
                                     precision_word((enum precision)p));
            continue;
        }
        missed += check_that(true, "%s: class %s", precision_word((enum precision)p),
                             seedpress_backend.numerics_class(engine));
        if (p == PRECISION_FP16)
            check_note("device 0 of %d: %s; %s", devices, seedpress_backend.device(engine),
                       seedpress_backend.driver(engine));
        seedpress_backend.close(&engine);
    }
    return missed;
}
