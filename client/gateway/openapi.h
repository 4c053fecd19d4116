/* openapi -- openapi.json, inside the program; made by embed.sh when the program is built. */
#ifndef GATEWAY_OPENAPI_H
#define GATEWAY_OPENAPI_H

extern const char OPENAPI[];        /* ends in NUL */

#endif
