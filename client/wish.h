/* wish -- values of the public structs on their way into messages. */
#ifndef CLIENT_WISH_H
#define CLIENT_WISH_H

#include "client/seedpress.h"
#include "proto/message.h"

/* Fills in what the picture's recipe says: model, psi, cutoff, class, noise, transform, quality,
 * mark and rev, without the seed. Texts are borrowed. Ranges are checked where the message is
 * asked. ERR_INVALID: no model, two kinds of transform; ERR_RANGE: more than six places. */
enum err_code wish_read(const struct seedpress_request *request, struct message_generate *out,
                        struct err *e);

/* NULL is "". */
struct text wish_text(const char *string);
enum err_code wish_read_decimal(const char *name, double value, int64_t *out, struct err *e);
/* hex NULL: *out stays. */
enum err_code wish_read_digest(const char *name, const char *hex, struct digest *out,
                               struct err *e);

#endif
