/* cuda_emulator -- what a test sets in the emulated device, and asks of it. Each setting has an
 * environment variable too, read before the first use. One host thread at a time is inside. */
#ifndef TESTS_CUDA_EMULATOR_CUDA_EMULATOR_H
#define TESTS_CUDA_EMULATOR_CUDA_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

/* In which order threads of a block run between two barriers, and work of streams that wait for
 * nothing of each other: EMULATED_ORDER=forward|reverse|shuffled. No result may depend on it. */
enum emulated_order { EMULATED_FORWARD, EMULATED_REVERSE, EMULATED_SHUFFLED };
void emulated_order_set(enum emulated_order order);

/* When copy_async16 copies: at once, at the wait that covers it, or somewhere between by the seed:
 * EMULATED_COPIES=at-once|late|shuffled. */
enum emulated_copies { EMULATED_COPIES_AT_ONCE, EMULATED_COPIES_LATE, EMULATED_COPIES_SHUFFLED };
void emulated_copies_set(enum emulated_copies copies);

/* When work on streams is done: when it is queued, or only when something waits for it:
 * EMULATED_STREAMS=at-once|deferred. */
enum emulated_streams { EMULATED_STREAMS_AT_ONCE, EMULATED_STREAMS_DEFERRED };
void emulated_streams_set(enum emulated_streams streams);

/* Of what is shuffled: EMULATED_SEED. */
void emulated_seed_set(uint64_t seed);

/* The device's memory: EMULATED_MEMORY_BYTES, else 4 GiB. */
void emulated_memory_set(size_t bytes);

/* Compute capability 80, 86, 89 or 90, and with it how much shared memory a block may have:
 * EMULATED_ARCH, else 80. */
void emulated_arch_set(int arch);

/* What was taken from the runtime and not given back. */
struct emulated_holdings {
    size_t device_bytes, host_bytes;
    int device_pieces, host_pieces, streams, events, graphs, execs;
};
struct emulated_holdings emulated_held(void);

/* Kernels that ran so far. */
uint64_t emulated_kernels(void);

#endif
