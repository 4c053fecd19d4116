/* How a fit is found. For each of some thirty ratios of the two sizes both pictures are shrunk
 * until the smaller one is about 32 pixels wide; there every offset is tried. The best of these
 * guesses are then improved, at sizes that double, by small steps of offset and scale; the worse
 * half is left at each size. All coordinates are continuous: a pixel i covers i..i+1, and a picture
 * that is shrunk keeps its corners. */
#include "client/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDE_MIN = 8,
    WORK_SIDE = 512,                /* pixels a side that both are brought to at most */
    COARSE_SIDE = 32,               /* of the smaller one, where every offset is tried */
    COARSE_LONG = 192,              /* of any side there */
    BLOCK = 8,                      /* pixels a side, over which colours are averaged: a JPEG's
                                       blocks, whose noise cancels in their mean */
    WHOLE_SIDE = 64,                /* of what is compared: less says less, and must fit better */
    GUESSES = 6,
};

static const double RATIO_FIRST = 0.4, RATIO_LAST = 2.2, RATIO_STEP = 1.06;
static const double SHARED_MIN = 0.5;
/* How far out of proportion a copy may be: without a bound, unlike pictures would be bent until
 * they look alike. */
static const double STRETCH_MAX = 1.34;
/* Of pixels' variance, in levels: below, a picture is flat and correlates with nothing. */
static const double VARIANCE_MIN = 1;

/* ---- luma, at any size ---- */

struct plane {
    int width, height;
    float *v;                       /* [height, width] */
};

static void plane_release(struct plane *self)
{
    free(self->v);
    *self = (struct plane){ .v = NULL };
}

static enum err_code plane_init(struct plane *self, int width, int height, struct err *e)
{
    self->width = width;
    self->height = height;
    self->v = calloc((size_t)width * (size_t)height, sizeof *self->v);
    return self->v ? ERR_OK : err_set(e, ERR_NOMEM, "no memory to compare pictures");
}

/* Adds weight times a row of count values, brought to width values, to out. */
static void add_row(const float *row, int count, float weight, float *out, int width)
{
    double step = (double)width / count;

    for (int i = 0; i < count; i++) {
        double from = i * step, to = (i + 1) * step;

        for (int x = (int)from; x < width && x < to; x++) {
            double left = x > from ? x : from, right = x + 1 < to ? x + 1 : to;

            out[x] += weight * (float)(right - left) * row[i];
        }
    }
}

/* Adds source row y of height to those rows of out that it covers. */
static void spread_row(const float *row, int count, int y, int height, struct plane *out)
{
    double step = (double)out->height / height, from = y * step, to = (y + 1) * step;

    for (int j = (int)from; j < out->height && j < to; j++) {
        double top = j > from ? j : from, bottom = j + 1 < to ? j + 1 : to;

        add_row(row, count, (float)(bottom - top), out->v + (size_t)j * (size_t)out->width,
                out->width);
    }
}

static enum err_code plane_resize(const struct plane *from, int width, int height,
                                  struct plane *out, struct err *e)
{
    enum err_code rc = plane_init(out, width, height, e);

    for (int y = 0; !rc && y < from->height; y++)
        spread_row(from->v + (size_t)y * (size_t)from->width, from->width, y, from->height, out);
    return rc;
}

static int scaled(int side, double by)
{
    int out = (int)(side * by + 0.5);

    return out > 1 ? out : 1;
}

/* What a plane is made of: parts of red, green and blue. */
static const float LUMA[3] = { 0.299f, 0.587f, 0.114f };        /* BT.601 */
static const float COLOURS[3][3] = { { 1, 0, 0 }, { 0, 1, 0 }, { 0, 0, 1 } };

/* At most WORK_SIDE a side. */
static enum err_code plane_of_image(const struct image *image, const float of[3],
                                    struct plane *out, struct err *e)
{
    int longer = image->width > image->height ? image->width : image->height;
    double by = longer > WORK_SIDE ? (double)WORK_SIDE / longer : 1;
    float *row = malloc((size_t)image->width * sizeof *row);
    enum err_code rc = row ? plane_init(out, scaled(image->width, by), scaled(image->height, by), e)
                           : err_set(e, ERR_NOMEM, "no memory to compare pictures");

    for (int y = 0; !rc && y < image->height; y++) {
        const uint8_t *rgb = image->rgb + (size_t)y * (size_t)image->width * 3;

        for (int x = 0; x < image->width; x++, rgb += 3)
            row[x] = of[0] * rgb[0] + of[1] * rgb[1] + of[2] * rgb[2];
        spread_row(row, image->width, y, image->height, out);
    }
    free(row);
    return rc;
}

/* ---- sums ---- */

struct sums {
    double n, p, o, pp, oo, po;     /* of the picture, of the original, of products */
};

static double correlation_of(const struct sums *s)
{
    double vp = s->pp / s->n - s->p / s->n * (s->p / s->n);
    double vo = s->oo / s->n - s->o / s->n * (s->o / s->n);

    if (s->n < 1 || vp < VARIANCE_MIN || vo < VARIANCE_MIN)
        return 0;
    return (s->po / s->n - s->p / s->n * (s->o / s->n)) / sqrt(vp * vo);
}

/* ---- one fit, judged ---- */

/* Both at a size: the picture is `to_p` as large as it is, the original has about as many pixels as
 * it shows there. */
struct view {
    struct plane p, o;
    double to_p_x, to_p_y, to_o_x, to_o_y;  /* from coordinates at full work size */
};

/* x and y in the picture's work size, scales from the original's. */
struct guess {
    double x, y, sx, sy;
    double correlation;
};

static void view_release(struct view *self)
{
    plane_release(&self->p);
    plane_release(&self->o);
}

/* For a fit near guess, the smaller of both about side pixels. */
static enum err_code view_init(struct view *self, const struct plane *p, const struct plane *o,
                               const struct guess *guess, int side, struct err *e)
{
    double shown_x = o->width * guess->sx, shown_y = o->height * guess->sy;
    double p_min = p->width < p->height ? p->width : p->height;
    double o_min = shown_x < shown_y ? shown_x : shown_y;
    double by = side / (p_min < o_min ? p_min : o_min);
    enum err_code rc;

    by = by < 1 ? by : 1;
    by = by * guess->sx < 1 ? by : 1 / guess->sx;       /* never finer than the original */
    by = by * guess->sy < 1 ? by : 1 / guess->sy;
    *self = (struct view){ .to_p_x = 1 };
    rc = plane_resize(p, scaled(p->width, by), scaled(p->height, by), &self->p, e);
    if (!rc) {
        double to_x = guess->sx * by < 1 ? guess->sx * by : 1;
        double to_y = guess->sy * by < 1 ? guess->sy * by : 1;

        rc = plane_resize(o, scaled(o->width, to_x), scaled(o->height, to_y), &self->o, e);
    }
    if (rc) {
        view_release(self);
        return rc;
    }
    self->to_p_x = (double)self->p.width / p->width;
    self->to_p_y = (double)self->p.height / p->height;
    self->to_o_x = (double)self->o.width / o->width;
    self->to_o_y = (double)self->o.height / o->height;
    return ERR_OK;
}

/* Where along one axis the pixels of the picture lie in the original. */
struct axis {
    int first, last;                /* pixels of the picture that show the original */
    int at[WORK_SIDE];              /* for each: the original's pixel, */
    float part[WORK_SIDE];          /* and how much of the next one */
};

/* Pixel i of the picture lies at (i + 0.5) * step + start of the original's count pixels. */
static void axis_init(struct axis *self, int pixels, double step, double start, int count)
{
    self->first = self->last = 0;
    for (int i = 0; i < pixels; i++) {
        double at = (i + 0.5) * step + start;

        if (at < 0 || at > count)
            continue;
        if (self->last == 0)
            self->first = i;
        self->last = i + 1;
        at -= 0.5;
        at = at < 0 ? 0 : at > count - 1 ? count - 1 : at;
        self->at[i] = (int)at < count - 1 ? (int)at : count > 1 ? count - 2 : 0;
        self->part[i] = count > 1 ? (float)(at - self->at[i]) : 0;
    }
}

static void add_sums(const struct view *view, const struct axis *ax, const struct axis *ay,
                     struct sums *sums)
{
    int next = view->o.width > 1, below = view->o.height > 1 ? view->o.width : 0;

    for (int j = ay->first; j < ay->last; j++) {
        const float *p = view->p.v + (size_t)j * (size_t)view->p.width;
        const float *o = view->o.v + (size_t)ay->at[j] * (size_t)view->o.width;
        float s_p = 0, s_o = 0, s_pp = 0, s_oo = 0, s_po = 0, down = ay->part[j];

        for (int i = ax->first; i < ax->last; i++) {
            const float *at = o + ax->at[i];
            float a = at[0] + ax->part[i] * (at[next] - at[0]);
            float b = at[below] + ax->part[i] * (at[below + next] - at[below]);
            float v = a + down * (b - a) - 128, w = p[i] - 128;

            s_p += w;
            s_o += v;
            s_pp += w * w;
            s_oo += v * v;
            s_po += w * v;
        }
        sums->p += s_p;
        sums->o += s_o;
        sums->pp += s_pp;
        sums->oo += s_oo;
        sums->po += s_po;
        sums->n += ax->last - ax->first;
    }
}

/* Pixels of the view that a whole original would take. */
static double shown_pixels(const struct view *view, const struct guess *guess)
{
    return view->o.width / view->to_o_x * guess->sx * view->to_p_x *
           (view->o.height / view->to_o_y * guess->sy * view->to_p_y);
}

static double part(double pixels, double of)
{
    return pixels < of ? pixels / of : 1;
}

/* How much of the smaller of both shows in the other. */
static double shared_of(const struct view *view, const struct guess *guess, double pixels)
{
    double whole_p = (double)view->p.width * view->p.height, whole_o = shown_pixels(view, guess);

    return part(pixels, whole_p < whole_o ? whole_p : whole_o);
}

static void axes_init(const struct view *view, const struct guess *guess, struct axis *ax,
                      struct axis *ay)
{
    double step_x = view->to_o_x / (guess->sx * view->to_p_x);
    double step_y = view->to_o_y / (guess->sy * view->to_p_y);

    axis_init(ax, view->p.width, step_x, -guess->x / guess->sx * view->to_o_x, view->o.width);
    axis_init(ay, view->p.height, step_y, -guess->y / guess->sy * view->to_o_y, view->o.height);
}

static struct sums sums_of(const struct view *view, const struct guess *guess)
{
    struct axis ax, ay;
    struct sums sums = { 0 };

    axes_init(view, guess, &ax, &ay);
    add_sums(view, &ax, &ay, &sums);
    return sums;
}

static double judge(const struct view *view, const struct guess *guess)
{
    double stretch = guess->sx > guess->sy ? guess->sx / guess->sy : guess->sy / guess->sx;
    struct sums sums;

    if (stretch > STRETCH_MAX)
        return -1;
    sums = sums_of(view, guess);
    return shared_of(view, guess, sums.n) < SHARED_MIN ? -1 : correlation_of(&sums);
}

/* ---- every offset at a small size ---- */

/* Sums of the first rows and columns: those of any rectangle come from four of them. */
struct table {
    int width;                      /* of a row here: the plane's and one */
    double *v, *squares;
};

static void table_release(struct table *self)
{
    free(self->v);
    free(self->squares);
}

static enum err_code table_init(struct table *self, const struct plane *plane, struct err *e)
{
    int w = plane->width + 1;
    size_t count = (size_t)w * (size_t)(plane->height + 1);

    *self = (struct table){ w, calloc(count, sizeof(double)), calloc(count, sizeof(double)) };
    if (!self->v || !self->squares)
        return err_set(e, ERR_NOMEM, "no memory to compare pictures");
    for (int y = 0; y < plane->height; y++)
        for (int x = 0; x < plane->width; x++) {
            double v = plane->v[(size_t)y * (size_t)plane->width + (size_t)x];
            size_t at = (size_t)(y + 1) * (size_t)w + (size_t)x + 1, up = at - (size_t)w;

            self->v[at] = v + self->v[at - 1] + self->v[up] - self->v[up - 1];
            self->squares[at] = v * v + self->squares[at - 1] + self->squares[up] -
                                self->squares[up - 1];
        }
    return ERR_OK;
}

static double table_sum(const struct table *self, const double *of, int x, int y, int w, int h)
{
    const double *top = of + (size_t)y * (size_t)self->width + x;
    const double *bottom = top + (size_t)h * (size_t)self->width;

    return bottom[w] - bottom[0] - top[w] + top[0];
}

/* The original's corner at whole pixels (dx, dy) of the picture. */
static struct sums sums_at(const struct view *view, const struct table *tp, const struct table *to,
                           int dx, int dy)
{
    int px = dx > 0 ? dx : 0, py = dy > 0 ? dy : 0, ox = px - dx, oy = py - dy;
    int w = view->p.width - px < view->o.width - ox ? view->p.width - px : view->o.width - ox;
    int h = view->p.height - py < view->o.height - oy ? view->p.height - py
                                                      : view->o.height - oy;
    struct sums s = { .n = (double)w * h };

    s.p = table_sum(tp, tp->v, px, py, w, h);
    s.pp = table_sum(tp, tp->squares, px, py, w, h);
    s.o = table_sum(to, to->v, ox, oy, w, h);
    s.oo = table_sum(to, to->squares, ox, oy, w, h);
    for (int j = 0; j < h; j++) {
        const float *p = view->p.v + (size_t)(py + j) * (size_t)view->p.width + px;
        const float *o = view->o.v + (size_t)(oy + j) * (size_t)view->o.width + ox;
        float sum[8] = { 0 };       /* eight beside each other: a vector's worth */
        int i = 0;

        for (; i + 8 <= w; i += 8)
            for (int k = 0; k < 8; k++)
                sum[k] += p[i + k] * o[i + k];
        for (; i < w; i++)
            sum[0] += p[i] * o[i];
        for (int k = 0; k < 8; k++)
            s.po += sum[k];
    }
    return s;
}

/* The largest part of side that an offset may leave out, in pixels. */
static int slack(int side)
{
    return (int)(side * (1 - SHARED_MIN));
}

/* The best offset at a ratio of sizes; guess comes with its scales. */
static enum err_code try_offsets(const struct plane *p, const struct plane *o, struct guess *guess,
                                 struct err *e)
{
    struct view view;
    struct table tp = { 0 }, to = { 0 };
    double longest = p->width > p->height ? p->width : p->height;
    double smaller = p->width < p->height ? p->width : p->height;
    double shown = guess->sx * (o->width < o->height ? o->width : o->height);
    int side = COARSE_SIDE;
    enum err_code rc;

    smaller = smaller < shown ? smaller : shown;
    if (side * longest > COARSE_LONG * smaller)
        side = (int)(COARSE_LONG * smaller / longest);
    rc = view_init(&view, p, o, guess, side > SIDE_MIN ? side : SIDE_MIN, e);
    if (rc)
        return rc;
    rc = table_init(&tp, &view.p, e);
    if (!rc)
        rc = table_init(&to, &view.o, e);
    int min_w = view.p.width < view.o.width ? view.p.width : view.o.width;
    int min_h = view.p.height < view.o.height ? view.p.height : view.o.height;
    int out_x = slack(min_w), out_y = slack(min_h);
    int from_x = (view.p.width < view.o.width ? view.p.width - view.o.width : 0) - out_x;
    int from_y = (view.p.height < view.o.height ? view.p.height - view.o.height : 0) - out_y;

    guess->correlation = -1;
    for (int dy = from_y; !rc && dy <= view.p.height - view.o.height - from_y; dy++)
        for (int dx = from_x; dx <= view.p.width - view.o.width - from_x; dx++) {
            struct sums sums = sums_at(&view, &tp, &to, dx, dy);
            double correlation = sums.n < SHARED_MIN * min_w * min_h ? -1 : correlation_of(&sums);

            if (correlation > guess->correlation) {
                guess->correlation = correlation;
                guess->x = dx / view.to_p_x;
                guess->y = dy / view.to_p_y;
            }
        }
    table_release(&tp);
    table_release(&to);
    view_release(&view);
    return rc;
}

/* Keeps the best guesses, the best first. */
static void keep_guess(struct guess best[GUESSES], const struct guess *guess)
{
    int at = GUESSES;

    while (at > 0 && best[at - 1].correlation < guess->correlation)
        at--;
    if (at == GUESSES)
        return;
    memmove(best + at + 1, best + at, (size_t)(GUESSES - 1 - at) * sizeof *best);
    best[at] = *guess;
}

/* ---- a guess, improved ---- */

/* Scales by fx and fy about the middle of what both show, then moves. */
static struct guess moved(const struct guess *from, const struct plane *p, const struct plane *o,
                          const double step[4])
{
    double right = from->x + o->width * from->sx, bottom = from->y + o->height * from->sy;
    double cx = ((from->x > 0 ? from->x : 0) + (right < p->width ? right : p->width)) / 2;
    double cy = ((from->y > 0 ? from->y : 0) + (bottom < p->height ? bottom : p->height)) / 2;

    return (struct guess){ .x = cx - step[2] * (cx - from->x) + step[0],
                           .y = cy - step[3] * (cy - from->y) + step[1],
                           .sx = from->sx * step[2], .sy = from->sy * step[3] };
}

/* Moves and scales while that helps, at one size, by steps from one pixel down to an eighth. */
static void improve(const struct view *view, const struct plane *p, const struct plane *o,
                    struct guess *guess)
{
    guess->correlation = judge(view, guess);
    for (double px = 1; px >= 0.125; px /= 2) {
        double dx = px / view->to_p_x, dy = px / view->to_p_y;
        double fx = 1 + 2 * px / view->p.width, fy = 1 + 2 * px / view->p.height;
        const double steps[][4] = {
            { dx, 0, 1, 1 }, { -dx, 0, 1, 1 }, { 0, dy, 1, 1 }, { 0, -dy, 1, 1 },
            { 0, 0, fx, fx }, { 0, 0, 1 / fx, 1 / fx }, { 0, 0, fx, 1 }, { 0, 0, 1 / fx, 1 },
            { 0, 0, 1, fy }, { 0, 0, 1, 1 / fy },
        };
        bool better = true;

        for (int round = 0; better && round < 8; round++) {
            better = false;
            for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
                struct guess next = moved(guess, p, o, steps[k]);

                next.correlation = judge(view, &next);
                if (next.correlation > guess->correlation) {
                    *guess = next;
                    better = true;
                }
            }
        }
    }
}

static enum err_code improve_at(const struct plane *p, const struct plane *o, int side,
                                struct guess *guess, struct err *e)
{
    struct view view;
    enum err_code rc = view_init(&view, p, o, guess, side, e);

    if (rc)
        return rc;
    improve(&view, p, o, guess);
    view_release(&view);
    return ERR_OK;
}

/* ---- the whole search ---- */

static enum err_code guess_all(const struct plane *p, const struct plane *o,
                               struct guess best[GUESSES], struct err *e)
{
    double whole_x = (double)p->width / o->width, whole_y = (double)p->height / o->height;
    double whole = sqrt(whole_x * whole_y);
    struct guess guess = { .sx = whole_x, .sy = whole_y };
    enum err_code rc = ERR_OK;

    for (int i = 0; i < GUESSES; i++)
        best[i] = (struct guess){ .sx = whole_x, .sy = whole_y, .correlation = -2 };
    rc = improve_at(p, o, COARSE_SIDE, &guess, e);      /* all of it, perhaps out of proportion */
    keep_guess(best, &guess);
    for (double ratio = RATIO_FIRST; !rc && ratio <= RATIO_LAST; ratio *= RATIO_STEP) {
        guess = (struct guess){ .sx = whole * ratio, .sy = whole * ratio };
        rc = try_offsets(p, o, &guess, e);
        keep_guess(best, &guess);
    }
    return rc;
}

static int by_correlation(const void *a, const void *b)
{
    const struct guess *x = a, *y = b;

    return (x->correlation < y->correlation) - (x->correlation > y->correlation);
}

/* The best guess of all, and the view to judge it in, which is to be released. */
static enum err_code find_fit(const struct plane *p, const struct plane *o, struct guess *out,
                              struct view *view, struct err *e)
{
    struct guess best[GUESSES];
    enum err_code rc = guess_all(p, o, best, e);
    int count = GUESSES, side = COARSE_SIDE;

    while (!rc && (count > 1 || side < WORK_SIDE / 2)) {
        side = 2 * side < WORK_SIDE / 2 ? 2 * side : WORK_SIDE / 2;
        for (int i = 0; !rc && i < count; i++)
            rc = improve_at(p, o, side, &best[i], e);
        qsort(best, (size_t)count, sizeof best[0], by_correlation);
        count = count > 1 ? count / 2 : 1;
    }
    *out = best[0];
    return rc ? rc : view_init(view, p, o, out, WORK_SIDE / 2, e);
}

static struct compare_fit fit_of(const struct view *view, const struct guess *guess)
{
    struct sums sums = sums_of(view, guess);

    if (sums.n < 1)
        return (struct compare_fit){ 0 };
    return (struct compare_fit){
        .correlation = correlation_of(&sums), .x = guess->x, .y = guess->y,
        .scale_x = guess->sx, .scale_y = guess->sy, .pixels = sums.n,
        .shows = part(sums.n, shown_pixels(view, guess)),
        .covers = part(sums.n, (double)view->p.width * view->p.height),
    };
}

/* The original's value at a pixel of the picture. */
static float value_at(const struct view *view, const struct axis *ax, const struct axis *ay, int i,
                      int j)
{
    int next = view->o.width > 1, below = view->o.height > 1 ? view->o.width : 0;
    const float *at = view->o.v + (size_t)ay->at[j] * (size_t)view->o.width + ax->at[i];
    float a = at[0] + ax->part[i] * (at[next] - at[0]);
    float b = at[below] + ax->part[i] * (at[below + next] - at[below]);

    return a + ay->part[j] * (b - a);
}

/* The mean square of differences that were averaged over blocks first. */
static double mean_square(const struct view *view, const struct guess *guess)
{
    struct axis ax, ay;
    double sum = 0;
    int count = 0;

    axes_init(view, guess, &ax, &ay);
    for (int y = ay.first; y + BLOCK <= ay.last; y += BLOCK)
        for (int x = ax.first; x + BLOCK <= ax.last; x += BLOCK) {
            double mean = 0;

            for (int k = 0; k < BLOCK * BLOCK; k++) {
                int i = x + k % BLOCK, j = y + k / BLOCK;

                mean += view->p.v[(size_t)j * (size_t)view->p.width + (size_t)i] -
                        value_at(view, &ax, &ay, i, j);
            }
            mean /= BLOCK * BLOCK;
            sum += mean * mean;
            count++;
        }
    return count > 0 ? sum / count : 255 * 255;
}

static enum err_code add_difference(const struct image *picture, const struct image *original,
                                    const float of[3], const struct guess *guess, double *sum,
                                    struct err *e)
{
    struct plane p = { 0 }, o = { 0 };
    struct view view = { .to_p_x = 1 };
    enum err_code rc = plane_of_image(picture, of, &p, e);

    if (!rc)
        rc = plane_of_image(original, of, &o, e);
    if (!rc)
        rc = view_init(&view, &p, &o, guess, WORK_SIDE / 2, e);
    if (!rc)
        *sum += mean_square(&view, guess);
    view_release(&view);
    plane_release(&p);
    plane_release(&o);
    return rc;
}

/* At the size that the fit was judged at. */
static enum err_code find_difference(const struct image *picture, const struct image *original,
                                     const struct guess *guess, double *out, struct err *e)
{
    double sum = 0;
    enum err_code rc = ERR_OK;

    for (int c = 0; !rc && c < 3; c++)
        rc = add_difference(picture, original, COLOURS[c], guess, &sum, e);
    *out = sqrt(sum / 3);
    return rc;
}

enum err_code compare_fit(const struct image *picture, const struct image *original,
                          struct compare_fit *out, struct err *e)
{
    const struct image *both[] = { picture, original };
    struct plane p = { 0 }, o = { 0 };
    struct guess guess;
    struct view view = { .to_p_x = 1 };
    enum err_code rc;

    *out = (struct compare_fit){ 0 };
    for (int i = 0; i < 2; i++)
        if (both[i]->width < SIDE_MIN || both[i]->height < SIDE_MIN)
            return err_set(e, ERR_FILE,
                           "%d x %d pixels are too few to compare; %d a side are needed",
                           both[i]->width, both[i]->height, SIDE_MIN);
    rc = plane_of_image(picture, LUMA, &p, e);
    if (!rc)
        rc = plane_of_image(original, LUMA, &o, e);
    if (!rc)
        rc = find_fit(&p, &o, &guess, &view, e);
    if (!rc) {
        double to_x = (double)picture->width / p.width, to_y = (double)picture->height / p.height;

        *out = fit_of(&view, &guess);
        rc = find_difference(picture, original, &guess, &out->difference, e);
        out->x *= to_x;
        out->y *= to_y;
        out->scale_x *= to_x * o.width / original->width;
        out->scale_y *= to_y * o.height / original->height;
    }
    view_release(&view);
    plane_release(&p);
    plane_release(&o);
    return rc;
}

bool compare_confirms(const struct compare_fit *fit)
{
    double side = sqrt(fit->pixels);
    double levels = COMPARE_CONFIRMED_LEVELS * (side < WHOLE_SIDE ? side / WHOLE_SIDE : 1);

    return fit->difference <= levels && fit->correlation >= COMPARE_CONFIRMED &&
           fit->pixels >= COMPARE_PIXELS_MIN;
}

bool compare_resembles(const struct compare_fit *fit)
{
    return fit->correlation >= COMPARE_POSSIBLE;
}
