/* answer -- what a broker's messages become for the user of libseedpress: believed only as far as
 * they agree with themselves and with what was asked, then copied out of the frames. */
#ifndef CLIENT_ANSWER_H
#define CLIENT_ANSWER_H

#include "base/link.h"
#include "client/seedpress.h"
#include "proto/message.h"

/* Whether the file (NULL: a receipt) and the recipe have the hashes that the map names. NULL: they
 * do; else static words that say what is wrong. */
const char *answer_check_image(const struct message_image *image, const struct frame *file);
/* Whether the picture is the one that was asked for. */
const char *answer_check_asked(const struct message_image *image,
                               const struct message_generate *asked, uint32_t seed);
const char *answer_check_row(const struct message_row *row, const struct message_lookup *asked);

/* What these lend is the frame's. file may be NULL. */
void answer_image(const struct message_image *image, const struct frame *file,
                  struct seedpress_image *out);
/* row must have passed answer_check_row. */
void answer_row(const struct message_row *row, struct seedpress_row *out);
void answer_model(const struct message_model *model, struct seedpress_model *out);
void answer_worker(const struct message_worker *worker, struct seedpress_worker *out);
void answer_status(const struct message_status_report *report, struct seedpress_status *out);
void answer_error(const struct message_error *error, struct seedpress_error *out);

/* out may be NULL. */
void answer_own_error(const struct err *e, struct seedpress_error *out);

#endif
