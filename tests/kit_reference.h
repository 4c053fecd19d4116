/* kit_reference -- all three generators from their description (the formulas in the headers of
 * kernels/, and in the papers), in double and in plain loops: nothing is folded or shared out.
 * Of the engine it uses the model's tensors and the numbers of a seed. */
#ifndef TESTS_KIT_REFERENCE_H
#define TESTS_KIT_REFERENCE_H

#include "kernels/backend.h"
#include "kernels/model.h"

/* One picture [3, size, size], as floats before the conversion to 8 bit; free() it. Aborts the test
 * when there is no memory. */
double *kit_reference_image(const struct model *model, const struct sample *sample);

#endif
