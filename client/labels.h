/* labels -- dataset.json beside a folder of pictures, as the official dataset_tool.py reads it:
 *     {"labels": [["seed0000.jpg", 3], ...]}, or {"labels": null} for an unconditional model
 * Source: dataset_tool.py of StyleGAN2-ADA and StyleGAN3, open_image_folder. */
#ifndef CLIENT_LABELS_H
#define CLIENT_LABELS_H

#include "client/manifest.h"
#include "proto/err.h"

/* Writes it for the pictures of the manifest's finished shards; of a part as
 * dataset-2-of-4.json. One picture is in memory at a time. ERR_FILE, ERR_NOMEM. */
enum err_code labels_write(const struct manifest *manifest, const char *folder, struct err *e);

#endif
