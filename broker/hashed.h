/* hashed -- for tables whose keys are spread by themselves, as digests and running numbers are:
 * their first bytes are hash enough. Include it after what includes uthash.h. */
#ifndef BROKER_HASHED_H
#define BROKER_HASHED_H

#include <string.h>
#include <uthash.h>

#undef HASH_FUNCTION
#define HASH_FUNCTION(at, len, out) memcpy(&(out), at, sizeof(unsigned))

#endif
