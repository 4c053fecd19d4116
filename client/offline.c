#include "client/offline.h"

#include "client/command.h"
#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/output.h"

#include <stdio.h>
#include <string.h>

/* What one render holds open, in the order in which it was opened. */
struct bench {
    struct model *model;
    const struct backend *backend;
    struct engine *engine;
    struct net *net;
    struct output output;
    struct jpeg_encoder *encoder;
};

static void close_bench(struct bench *bench)
{
    jpeg_encoder_destroy(&bench->encoder);
    output_release(&bench->output);
    if (bench->net)
        bench->backend->unload(&bench->net);
    if (bench->engine)
        bench->backend->close(&bench->engine);
    model_destroy(&bench->model);
}

static enum err_code open_model(struct bench *bench, const char *file, const struct recipe *recipe,
                                struct err *e)
{
    const struct model_facts *facts;

    if (model_open(file, &bench->model, e))
        return command_blame_file(e);
    facts = model_facts(bench->model);
    if (digest_equal(&facts->digest, &recipe->model))
        return ERR_OK;
    return err_set(e, ERR_FILE, "\"%.80s\" is model %.16s..., and the recipe is of %.16s...", file,
                   digest_hex(&facts->digest).text, digest_hex(&recipe->model).text);
}

static enum err_code open_bench(struct bench *bench, const struct offline *self,
                                const struct recipe *recipe, struct err *e)
{
    struct backend_options options = { .precision = self->precision, .drop_values = true };
    enum err_code rc = open_model(bench, self->model_file, recipe, e);

    if (!rc)
        rc = backend_find(self->backend, &bench->backend, e);
    if (!rc)
        rc = bench->backend->open(&options, &bench->engine, e);
    if (!rc)
        rc = bench->backend->load(bench->engine, bench->model, 1, &bench->net, e);
    if (!rc) {
        enum output_kind kind = output_kind_of(bench->backend);

        rc = output_init(&bench->output, bench->backend, bench->engine, kind,
                         output_bytes(kind, model_facts(bench->model)), e);
    }
    return rc ? rc : jpeg_encoder_create(&bench->encoder, e);
}

enum err_code offline_render(const struct offline *self, const struct recipe *recipe,
                             struct picture *out, char numerics_class[64], struct err *e)
{
    struct bench bench = { .model = NULL };
    struct recipe unsigned_recipe = *recipe;
    struct sample sample = sample_of_recipe(recipe);
    enum err_code rc = open_bench(&bench, self, recipe, e);

    *out = (struct picture){ .file = NULL };
    if (!rc) {
        struct output_batch batch = { bench.net, model_facts(bench.model), &sample,
                                      &recipe->quality, 1 };

        rc = output_render(&bench.output, &batch, NULL, e);
    }
    if (!rc) {
        snprintf(numerics_class, 64, "%s", bench.backend->numerics_class(bench.engine));
        if (recipe->mark == RECIPE_MARK_C2PA)
            unsigned_recipe.mark = RECIPE_MARK_NONE;
        rc = picture_encode(bench.encoder, &unsigned_recipe, output_at(&bench.output, 0), out, e);
    }
    close_bench(&bench);
    return rc;
}
