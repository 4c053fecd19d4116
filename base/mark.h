/* mark -- what a picture file says of itself, and what of it is the picture.
 *
 * The mark is an XMP packet: IPTC's DigitalSourceType (made by a trained model) and the recipe's
 * text, byte for byte, so that the printed text hashes to the recipe key:
 *     exiftool -b -XMP-seedpress:Recipe FILE | sha256sum
 * In a JPEG it is an APP1 segment, in a PNG an uncompressed iTXt chunk. Reading it back gives a
 * claim: anybody can write one; rendering the recipe and comparing decides. */
#ifndef BASE_MARK_H
#define BASE_MARK_H

#include "proto/digest.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the longest packet, NUL included: a byte of a recipe takes six at most ("&quot;"). */
enum { MARK_XMP_MAX = 6 * RECIPE_TEXT_MAX + 768 };

/* What stands before the packet in a JPEG's APP1 segment, its NUL included, and the keyword of a
 * PNG's iTXt chunk. */
#define MARK_JPEG_PREFIX "http://ns.adobe.com/xap/1.0/"
#define MARK_PNG_KEYWORD "XML:com.adobe.xmp"

/* Writes the packet for a recipe, ended by NUL; the same bytes for the same text. Gives its length,
 * or 0 when it does not fit into cap (MARK_XMP_MAX always does). */
size_t mark_xmp(const struct recipe_text *recipe, char *out, size_t cap);

/* The recipe's text out of a JPEG or PNG in memory, also after another program has written its
 * metadata anew as an element. False when there is none that recipe_parse accepts; *out is then
 * undefined. Every byte is hostile; the time is linear in len. */
bool mark_find(const uint8_t *file, size_t len, struct recipe_text *out);

/* SHA-256 of a JPEG without what does not change the picture: APPn and COM segments, fill bytes and
 * what follows EOI. One exception: Adobe's APP14 stays in, because it tells decoders how to read
 * the colours (our own files have none). False when the file is no whole, well-formed JPEG, or
 * memory is out. */
bool mark_core_sha256(const uint8_t *jpeg, size_t len, struct digest *out);

#endif
