/* c2pa_words -- the labels that who signs a picture and who checks one must spell alike
 * (C2PA 2.1, 11 and 18). */
#ifndef BASE_C2PA_WORDS_H
#define BASE_C2PA_WORDS_H

#define C2PA_STORE "c2pa"
#define C2PA_CLAIM "c2pa.claim.v2"
#define C2PA_SIGNATURE "c2pa.signature"
#define C2PA_ASSERTIONS "c2pa.assertions"
#define C2PA_ACTIONS "c2pa.actions.v2"
#define C2PA_HASH "c2pa.hash.data"
#define C2PA_RECIPE "seedpress.recipe"           /* ours */
/* Kinds of superboxes, by the first letters of their UUIDs. */
#define C2PA_KIND_STORE "c2pa"
#define C2PA_KIND_MANIFEST "c2ma"
#define C2PA_KIND_ASSERTIONS "c2as"
#define C2PA_KIND_CLAIM "c2cl"
#define C2PA_KIND_SIGNATURE "c2cs"
#define C2PA_KIND_CBOR "cbor"

#endif
