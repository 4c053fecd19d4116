/* inside -- what the emulator's own files share. */
#ifndef TESTS_CUDA_EMULATOR_INSIDE_H
#define TESTS_CUDA_EMULATOR_INSIDE_H

#include <cuda_runtime.h>
#include <emulated_launch.h>

#include "cuda_emulator.h"

/* What a test set, or the environment. */
struct emulated_settings {
    enum emulated_order order;
    enum emulated_copies copies;
    enum emulated_streams streams;
    uint64_t random;            /* state of emulated_random */
    size_t memory_bytes;
    int arch;
};
struct emulated_settings *emulated_settings_now(void);

/* A number from 0 to below - 1. */
unsigned emulated_random(unsigned below);

/* Bytes of shared memory that a block may have on the chosen device. */
size_t emulated_shared_most(void);

/* Runs all blocks on the calling thread, one after another. Not at once from two threads. */
void emulated_run(const struct emulated_launch *launch);

/* Says what is wrong, after the name of the kernel, block and thread that run, and aborts. */
void emulated_fail(const char *words, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- What block.cc gives emulated_hopper.cc, ---- */

/* The place in its block of the thread that runs. */
unsigned emulated_thread(void);
/* That thread waits until it is woken. */
void emulated_park(const char *what, const char *file, const char *function, int line);
void emulated_wake(unsigned thread);

/* ---- and what it tells it: a block begins and ends, a thread has written 16 bytes of shared memory
 * by a copy, and no thread can run: true when something has arrived then. ---- */

void emulated_hopper_begin(size_t shared_bytes);
void emulated_hopper_end(unsigned warps);
void emulated_hopper_wrote(const void *shared);
bool emulated_hopper_deliver(void);

#endif
