#include "base/likeness.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDE_MIN = 8,                   /* pixels; less is no picture to compare */
    SIDE_MAX = 500000,
    CELLS = 32,                     /* a window becomes CELLS x CELLS by area */
    BAND = 8,                       /* frequencies 0..BAND-1 of each direction */
    BITS = BAND * BAND,
    FINE = 128,                     /* the planes' shorter side has at least so many cells, where
                                       the picture has them, and less than twice as many */
    LONG = 2048,                    /* the most of their longer side */
    CELL_MAX = 256,                 /* pixels of a cell's side: their sums fit into 16 bits a
                                       column, and 256 times those of a cell into 32 */
    ONE = 256,                      /* a cell's width, and a fraction's unit */
    PLANES = 3,                     /* Y, Cb, Cr */
    MIDDLE = 128 * 255 * 256,       /* of chroma, in 65536ths of a level */
    BORDERS_MAX = 3,                /* frames around a picture that are looked through */
    GRID = 5,                       /* stored windows in a row */
    LATTICE = 56,                   /* cells of a stored picture's shorter side: windows are
                                       CELLS */
    LATTICE_MAX = 4 * LATTICE,      /* of the longer one */
    LEVEL_MAX = 255 * 16,           /* what an area may be */
    SCALES = 7, SHIFTS = 3,         /* windows of a query: sizes, places in a row */
};

/* Sides of crops that a query reckons with, in thousandths of the stored picture: 60 to 96 %, each
 * 7 % more than the last. */
static const int64_t CROPS[SCALES] = { 620, 664, 710, 759, 812, 868, 929 };

/* How much a plain border may vary, in levels: drawn anew, or after a strong JPEG, whose waves
 * reach into it. Both are tried, since the picture's own edge may differ from a border by less. */
static const int64_t BORDER_LEVELS[] = { 8, 24 };

/* 1024 * cos(i * pi / 64) */
static const int16_t COSINE[CELLS + 1] = {
    1024, 1023, 1019, 1013, 1004, 993, 980, 964, 946, 926, 903, 878, 851, 822, 792, 759, 724, 688,
    650, 610, 569, 526, 483, 438, 392, 345, 297, 249, 200, 150, 100, 50, 0
};
/* The first frequencies in JPEG's zigzag order, without DC: places in a band. */
static const uint8_t ZIGZAG[BITS / 2] = { 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12,
                                          19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
                                          35 };

/* The picture's Y, Cb and Cr as running sums, so that any window's areas cost the same. Cells are
 * k x k pixels; those at the right and lower edge may be narrower, and hold the mean of what they
 * have. Values are 256ths of a level, chroma from 0 on. */
struct planes {
    int width, height;              /* cells, the last ones included */
    int64_t extent_x, extent_y;     /* the picture, in ONEths of a cell */
    uint64_t *sums[PLANES];         /* [height + 1][width + 1] */
    int16_t basis[BAND][CELLS];     /* of the DCT, 1024 times */
};

/* In ONEths of a cell. */
struct window {
    int64_t x, y, width, height;
};

/* ---- the planes ---- */

/* Adds a row of bytes to sums. In steps of 16, which compilers make into vectors. */
static void add_row(uint16_t *sums, const uint8_t *row, size_t len)
{
    size_t i = 0;

    for (; i + 16 <= len; i += 16)
        for (size_t j = 0; j < 16; j++)
            sums[i + j] = (uint16_t)(sums[i + j] + row[i + j]);
    for (; i < len; i++)
        sums[i] = (uint16_t)(sums[i] + row[i]);
}

/* 256 * sum / pixels. Cells of common sizes have a power of two of them, and a division costs more
 * than all else that is done to a cell. */
static inline uint32_t mean_of(uint32_t sum, uint32_t pixels)
{
    return (pixels & (pixels - 1)) == 0 ? 256 * sum >> __builtin_ctz(pixels) : 256 * sum / pixels;
}

/* A row of cells, a colour each; loops over them become vectors. */
struct strip {
    uint32_t r[LONG], g[LONG], b[LONG];         /* sums, then 256ths of a level */
    uint32_t plane[PLANES][LONG];
};

/* Sums over the columns of each cell, out of summed up rows. */
static void add_columns(struct strip *self, const uint16_t *row, int cells, int width, int k)
{
    for (int x = 0; x < cells; x++) {
        int columns = width - x * k < k ? width - x * k : k;
        uint32_t r = 0, g = 0, b = 0;

        for (int i = 0; i < columns; i++, row += 3) {
            r += row[0];
            g += row[1];
            b += row[2];
        }
        self->r[x] = r;
        self->g[x] = g;
        self->b[x] = b;
    }
}

/* Levels of cells [from, to), which have so many pixels each. BT.601's weights, in 256ths. Levels
 * first: a cell's sums times a weight would not fit. */
static void take_cells(struct strip *self, int from, int to, uint32_t pixels)
{
    for (int x = from; x < to; x++) {
        uint32_t r = mean_of(self->r[x], pixels), g = mean_of(self->g[x], pixels);
        uint32_t b = mean_of(self->b[x], pixels);

        self->plane[0][x] = (77 * r + 150 * g + 29 * b) / 256;
        self->plane[1][x] = (MIDDLE + 128 * b - 43 * r - 85 * g) / 256;
        self->plane[2][x] = (MIDDLE + 128 * r - 107 * g - 21 * b) / 256;
    }
}

static void fill_row(struct planes *self, struct strip *strip, int y, const uint16_t *row,
                     int width, int k, int rows)
{
    size_t pitch = (size_t)self->width + 1, at = (size_t)(y + 1) * pitch;
    int last = width - (self->width - 1) * k;   /* columns of the last cell */

    add_columns(strip, row, self->width, width, k);
    take_cells(strip, 0, self->width - 1, (uint32_t)(k * rows));
    take_cells(strip, self->width - 1, self->width, (uint32_t)(last * rows));
    for (int p = 0; p < PLANES; p++) {
        uint64_t *here = self->sums[p] + at + 1, sum = 0;

        for (int x = 0; x < self->width; x++) {
            sum += strip->plane[p][x];
            here[x] = sum;
        }
        for (int x = 0; x < self->width; x++)
            here[x] += here[x - (ptrdiff_t)pitch];
    }
}

static void fill_basis(struct planes *self)
{
    for (int f = 0; f < BAND; f++)
        for (int i = 0; i < CELLS; i++) {
            int turn = (2 * i + 1) * f % (4 * CELLS);   /* 64ths of pi */

            turn = turn > 2 * CELLS ? 4 * CELLS - turn : turn;
            self->basis[f][i] = (int16_t)(turn <= CELLS ? COSINE[turn] : -COSINE[2 * CELLS - turn]);
        }
}

static void planes_release(struct planes *self)
{
    free(self->sums[0]);
}

/* False: no such size, or no memory. */
static bool planes_init(struct planes *self, const uint8_t *rgb, int width, int height,
                        size_t stride)
{
    int shorter = width < height ? width : height, longer = width < height ? height : width;
    int k = shorter / FINE > 1 ? shorter / FINE : 1;
    size_t row_len = 3 * (size_t)width, count;
    struct strip *strip;
    uint16_t *row;

    if (shorter < SIDE_MIN || longer > SIDE_MAX)
        return false;
    k = longer / LONG >= k ? longer / LONG + 1 : k;
    k = k < CELL_MAX ? k : CELL_MAX;
    *self = (struct planes){ .width = (width + k - 1) / k, .height = (height + k - 1) / k,
                             .extent_x = (int64_t)width * ONE / k,
                             .extent_y = (int64_t)height * ONE / k };
    count = (size_t)(self->width + 1) * (size_t)(self->height + 1);
    self->sums[0] = calloc(PLANES * count, sizeof *self->sums[0]);
    row = malloc(row_len * sizeof *row);
    strip = malloc(sizeof *strip);
    if (!self->sums[0] || !row || !strip) {
        planes_release(self);
        free(row);
        free(strip);
        return false;
    }
    for (int p = 1; p < PLANES; p++)
        self->sums[p] = self->sums[p - 1] + count;
    for (int y = 0; y < self->height; y++) {
        int rows = height - y * k < k ? height - y * k : k;

        memset(row, 0, row_len * sizeof *row);
        for (int i = 0; i < rows; i++)
            add_row(row, rgb + ((size_t)y * (size_t)k + (size_t)i) * stride, row_len);
        fill_row(self, strip, y, row, width, k, rows);
    }
    free(row);
    free(strip);
    fill_basis(self);
    return true;
}

/* ---- one window's hashes ---- */

/* Where a cell of the window begins: whole cells of the plane, and the rest in ONEths. */
struct edge {
    int cell;
    uint64_t rest;
};

/* Edges of count parts; cells: of the plane in that direction. */
static void place_edges(int64_t from, int64_t length, int cells, struct edge *edges, int count)
{
    for (int i = 0; i <= count; i++) {
        int64_t at = from + length * i / count;

        edges[i].cell = (int)(at / ONE);
        edges[i].rest = (uint64_t)(at % ONE);
        if (edges[i].cell >= cells) {   /* the picture's end */
            edges[i].cell = cells - 1;
            edges[i].rest = ONE;
        }
    }
}

/* The window's areas, columns x rows of them, in 16ths of a level. */
static void take_areas(const struct planes *planes, int plane, const struct window *w, int columns,
                       int rows, int16_t *areas)
{
    struct edge x[LATTICE_MAX + 1], y[LATTICE_MAX + 1];
    uint64_t above[LATTICE_MAX + 1] = { 0 }, below[LATTICE_MAX + 1];
    double areas_in = (double)columns * rows, of_one = (double)w->width * (double)w->height;
    double scale = areas_in / (16 * of_one);    /* exact operations of IEEE 754: the same
                                                   anywhere */
    size_t pitch = (size_t)planes->width + 1;

    place_edges(w->x, w->width, planes->width, x, columns);
    place_edges(w->y, w->height, planes->height, y, rows);
    for (int i = 0; i <= rows; i++) {
        const uint64_t *upper = planes->sums[plane] + (size_t)y[i].cell * pitch;
        const uint64_t *lower = upper + pitch;

        for (int j = 0; j <= columns; j++) {
            int c = x[j].cell;
            uint64_t left = upper[c] * (ONE - y[i].rest) + lower[c] * y[i].rest;
            uint64_t right = upper[c + 1] * (ONE - y[i].rest) + lower[c + 1] * y[i].rest;

            below[j] = left * (ONE - x[j].rest) + right * x[j].rest;
        }
        for (int j = 0; i > 0 && j < columns; j++) {
            uint64_t sum = below[j + 1] - below[j] - above[j + 1] + above[j];
            int level = (int)((double)(int64_t)sum * scale);

            *areas++ = (int16_t)(level < LEVEL_MAX ? level : LEVEL_MAX);
        }
        memcpy(above, below, sizeof above);
    }
}

/* The first BAND frequencies of CELLS values, in 262144ths of a level times CELLS. */
static void transform_row(const struct planes *planes, const int16_t *values, int16_t out[BAND])
{
    for (int f = 0; f < BAND; f++) {
        int32_t sum = 0;            /* of CELLS * LEVEL_MAX * 1024 at most: 27 bits */

        for (int i = 0; i < CELLS; i++)
            sum += values[i] * planes->basis[f][i];
        out[f] = (int16_t)(sum / 4096);
    }
}

/* From CELLS rows' frequencies, pitch apart, to those of both directions. */
static void transform_columns(const struct planes *planes, const int16_t *rows, size_t pitch,
                              int32_t band[BITS])
{
    int16_t column[CELLS];

    for (int f = 0; f < BAND; f++) {
        for (int i = 0; i < CELLS; i++)
            column[i] = rows[(size_t)i * pitch + (size_t)f];
        for (int g = 0; g < BAND; g++) {
            int32_t sum = 0;

            for (int i = 0; i < CELLS; i++)
                sum += column[i] * planes->basis[g][i];
            band[g * BAND + f] = sum;
        }
    }
}

/* Bit i says that values[i] is above the median of the count values, which are followed by
 * INT32_MAX up to BITS. *contrast is their mean size. Counting what is less is dearer than sorting,
 * in theory: it is all vectors and no branches. */
static uint64_t above_median(const int32_t values[BITS], int count, int64_t *contrast)
{
    uint64_t hash = 0;
    int64_t sum = 0;

    for (int i = 0; i < count; i++) {
        int less = 0;

        for (int j = 0; j < BITS; j++)
            less += values[j] < values[i];
        hash |= (uint64_t)(less > (count - 1) / 2) << i;
        sum += llabs((long long)values[i]);
    }
    *contrast = sum / count;
    return hash;
}

/* Below this a hash is of noise: an encoder's, or the rounding's. A wave of one level has the
 * coefficient 1024 * 1024 * 16 / 4096 * CELLS * CELLS / 4. */
static bool is_flat(int64_t contrast)
{
    return contrast < 1024 * 1024 * 16 / 4096 * CELLS * CELLS / 4 / 2;
}

/* Appends a window's hashes, unless there is nothing in it. The first one always stays. */
static size_t add_bands(int32_t bands[PLANES][BITS], uint64_t *hashes, size_t count)
{
    int64_t contrast, most = 0;
    uint64_t brightness, colour = 0;
    int32_t low[BITS];

    memcpy(low, bands[0] + 1, (BITS - 1) * sizeof low[0]);
    low[BITS - 1] = INT32_MAX;
    brightness = above_median(low, BITS - 1, &contrast) << 1;

    if (is_flat(contrast) && count > 0)
        return count;
    for (int p = 1; p < PLANES; p++) {
        for (int i = 0; i < BITS; i++)
            low[i] = i < BITS / 2 ? bands[p][ZIGZAG[i]] : INT32_MAX;
        colour |= above_median(low, BITS / 2, &contrast) << (p - 1) * (BITS / 2);
        most = contrast > most ? contrast : most;
    }
    hashes[count] = brightness;
    hashes[count + 1] = is_flat(most) ? 0 : colour;
    return count + LIKENESS_WINDOW;
}

static size_t add_window(const struct planes *planes, const struct window *w, uint64_t *hashes,
                         size_t count)
{
    int16_t areas[CELLS * CELLS], rows[CELLS * BAND];
    int32_t bands[PLANES][BITS];

    for (int p = 0; p < PLANES; p++) {
        take_areas(planes, p, w, CELLS, CELLS, areas);
        for (int i = 0; i < CELLS; i++)
            transform_row(planes, areas + i * CELLS, rows + i * BAND);
        transform_columns(planes, rows, BAND, bands[p]);
    }
    return add_bands(bands, hashes, count);
}

static struct window whole_of(const struct planes *planes)
{
    return (struct window){ 0, 0, planes->extent_x, planes->extent_y };
}

/* ---- a stored picture ---- */

/* Its windows lie on one lattice of cells, so that areas are taken once and a row's frequencies
 * serve all windows that it is in. */
struct lattice {
    int columns, rows;
    int16_t areas[LATTICE_MAX * LATTICE_MAX];
    int16_t waves[PLANES][LATTICE_MAX][GRID][BAND];     /* of a row, from each window's left on */
};

/* Where the windows of a line of cells begin. */
static int place_of(int index, int cells)
{
    return (cells - CELLS) * index / (GRID - 1);
}

static void fill_lattice(struct lattice *self, const struct planes *planes)
{
    struct window whole = whole_of(planes);

    for (int p = 0; p < PLANES; p++) {
        take_areas(planes, p, &whole, self->columns, self->rows, self->areas);
        for (int y = 0; y < self->rows; y++)
            for (int j = 0; j < GRID; j++)
                transform_row(planes, self->areas + y * self->columns +
                                          place_of(j, self->columns), self->waves[p][y][j]);
    }
}

/* Cells of a side when the shorter one has LATTICE. */
static int cells_of(int side, int shorter)
{
    int64_t cells = ((int64_t)side * LATTICE + shorter / 2) / shorter;

    return cells < LATTICE_MAX ? (int)cells : LATTICE_MAX;
}

size_t likeness_of_stored(const uint8_t *rgb, int width, int height, size_t stride,
                          uint64_t hashes[LIKENESS_STORED_MAX])
{
    int shorter = width < height ? width : height;
    struct lattice *lattice = malloc(sizeof *lattice);
    int32_t bands[PLANES][BITS];
    struct planes planes;
    struct window whole;
    size_t count = 0;

    if (!lattice || !planes_init(&planes, rgb, width, height, stride)) {
        free(lattice);
        return 0;
    }
    lattice->columns = cells_of(width, shorter);
    lattice->rows = cells_of(height, shorter);
    fill_lattice(lattice, &planes);
    whole = whole_of(&planes);
    count = add_window(&planes, &whole, hashes, count);
    for (int i = 0; i < GRID; i++)
        for (int j = 0; j < GRID; j++) {
            for (int p = 0; p < PLANES; p++)
                transform_columns(&planes, lattice->waves[p][place_of(i, lattice->rows)][j],
                                  GRID * BAND, bands[p]);
            count = add_bands(bands, hashes, count);
        }
    free(lattice);
    planes_release(&planes);
    return count;
}

/* ---- a query ---- */

/* The luma of a cell, in 256ths. */
static int64_t cell_luma(const struct planes *planes, int x, int y)
{
    size_t pitch = (size_t)planes->width + 1;
    const uint64_t *at = planes->sums[0] + (size_t)y * pitch + (size_t)x;

    return (int64_t)(at[pitch + 1] - at[pitch] - at[1] + at[0]);
}

/* Cells [left, right) x [top, bottom). */
struct inside {
    int left, top, right, bottom;
};

/* A line's cells vary by so much around one luma, both in 256ths of a level. */
struct plain {
    int64_t luma, vary;
};

/* Whether the cells of a line, a row or a column, are all like that. */
static bool is_plain(const struct planes *planes, struct inside line, struct plain as)
{
    for (int y = line.top; y < line.bottom; y++)
        for (int x = line.left; x < line.right; x++)
            if (llabs(cell_luma(planes, x, y) - as.luma) > as.vary)
                return false;
    return true;
}

/* Leaves away the plain lines of each side, whose colours may differ. */
static struct inside strip(const struct planes *planes, struct inside in, int64_t vary)
{
    struct plain first = { cell_luma(planes, in.left, in.top), vary };
    struct plain last = { cell_luma(planes, in.right - 1, in.bottom - 1), vary };

    while (in.bottom - in.top > 1 &&
           is_plain(planes, (struct inside){ in.left, in.top, in.right, in.top + 1 }, first))
        in.top++;
    while (in.bottom - in.top > 1 &&
           is_plain(planes, (struct inside){ in.left, in.bottom - 1, in.right, in.bottom }, last))
        in.bottom--;
    first.luma = cell_luma(planes, in.left, in.top);
    last.luma = cell_luma(planes, in.right - 1, in.bottom - 1);
    while (in.right - in.left > 1 &&
           is_plain(planes, (struct inside){ in.left, in.top, in.left + 1, in.bottom }, first))
        in.left++;
    while (in.right - in.left > 1 &&
           is_plain(planes, (struct inside){ in.right - 1, in.top, in.right, in.bottom }, last))
        in.right--;
    return in;
}

static struct window window_of(const struct planes *planes, struct inside in)
{
    int64_t right = (int64_t)in.right * ONE, bottom = (int64_t)in.bottom * ONE;
    struct window w = { (int64_t)in.left * ONE, (int64_t)in.top * ONE, 0, 0 };

    w.width = (right < planes->extent_x ? right : planes->extent_x) - w.x;
    w.height = (bottom < planes->extent_y ? bottom : planes->extent_y) - w.y;
    return w;
}

/* Adds what is inside of plain borders, frame by frame. *framed is the innermost that had a border
 * on all sides: what somebody has put into a page, while a picture's own background ends
 * somewhere. */
static size_t add_framed(const struct planes *planes, int64_t vary, uint64_t *hashes, size_t count,
                         struct window *framed)
{
    struct inside in = { 0, 0, planes->width, planes->height };

    for (int i = 0; i < BORDERS_MAX; i++) {
        struct inside next = strip(planes, in, vary);
        struct window w = window_of(planes, next);
        int sides = (next.left > in.left) + (next.top > in.top) + (next.right < in.right) +
                    (next.bottom < in.bottom);

        if (sides == 0 || next.right - next.left < SIDE_MIN || next.bottom - next.top < SIDE_MIN)
            break;
        count = add_window(planes, &w, hashes, count);
        if (sides == 4)
            *framed = w;
        in = next;
    }
    return count;
}

static int64_t within(int64_t v, int64_t most)
{
    return v < 0 ? 0 : v < most ? v : most;
}

/* If the picture is a crop of one that is stored: for each likely size of the crop windows with the
 * side of a stored one, at places that meet a stored one wherever the crop was cut. Stored windows
 * of a square picture lie 6 of their 32 cells apart, these 2, around the middle. */
static size_t add_crops(const struct planes *planes, const struct window *of, uint64_t *hashes,
                        size_t count)
{
    int64_t shorter = of->width < of->height ? of->width : of->height;

    for (int s = 0; s < SCALES; s++) {
        int64_t side = shorter * 1000 * CELLS / LATTICE / CROPS[s];
        int64_t more_x = of->width - side, more_y = of->height - side;

        for (int i = 0; i < SHIFTS; i++)
            for (int j = 0; j < SHIFTS; j++) {
                struct window w = {
                    of->x + within(more_x / 2 + (j - SHIFTS / 2) * side / 16, more_x),
                    of->y + within(more_y / 2 + (i - SHIFTS / 2) * side / 16, more_y), side, side
                };

                count = add_window(planes, &w, hashes, count);
            }
    }
    return count;
}

size_t likeness_of_query(const uint8_t *rgb, int width, int height, size_t stride,
                         uint64_t hashes[LIKENESS_MAX])
{
    struct planes planes;
    struct window whole, framed;
    size_t count;

    if (!planes_init(&planes, rgb, width, height, stride))
        return 0;
    whole = whole_of(&planes);
    count = add_window(&planes, &whole, hashes, 0);
    framed = whole;
    for (size_t i = 0; i < sizeof BORDER_LEVELS / sizeof BORDER_LEVELS[0]; i++)
        count = add_framed(&planes, BORDER_LEVELS[i] * ONE, hashes, count, &framed);
    count = add_crops(&planes, &framed, hashes, count);
    planes_release(&planes);
    return count;
}

int likeness_distance(const uint64_t a[LIKENESS_WINDOW], const uint64_t b[LIKENESS_WINDOW])
{
    return likeness_bits(a[0], a[1], b) / 2;
}
