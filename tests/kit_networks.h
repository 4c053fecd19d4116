/* kit_networks -- networks of the sizes that are in use, with random weights: what they compute is
 * noise, how long it takes is not. And how many operations a picture is counted as. */
#ifndef TESTS_KIT_NETWORKS_H
#define TESTS_KIT_NETWORKS_H

#include "kernels/model.h"
#include "kernels/plan.h"

#include <stdbool.h>

struct kit_network {
    const char *name;
    enum model_arch family;
    int resolution;
    int base, max;                  /* of channels, as the family counts them */
    bool radial;                    /* StyleGAN 3-r and not -t */
};

enum { KIT_NETWORK_COUNT = 6 };
extern const struct kit_network KIT_NETWORKS[KIT_NETWORK_COUNT];

/* conv_clamp: of StyleGAN 2; 0 for none, 256 as in StyleGAN2-ADA. StyleGAN 3 has 256 always. */
enum err_code kit_network_model(const struct kit_network *self, float conv_clamp,
                                struct model **out, struct err *e);

/* Of one picture, two for each multiplication of a convolution by the definition of its family
 * (StyleGAN 3: and of the FIRs, polyphase), whatever an engine really does. */
double kit_network_operations(const struct plan *plan);

#endif
