#include "client/gateway/gateway.h"

enum err_code gateway_find_model(struct gateway *self, const char *segment,
                                 struct seedpress_model *out, struct err *e)
{
    char name[65], digest[65];
    enum err_code rc = permalink_read_model(segment, name, digest, e);

    return rc ? rc : catalogue_find(self->catalogue, name, digest, out, e);
}
