-- Bulk jobs, perceptual hashes, files outside the database, rules of what is kept. Programs of the
-- first schema go on running on it.

-- NULL: asked for by somebody, not by a job. The job that had the row made; others may share it.
ALTER TABLE images ADD COLUMN job_id bigint;
-- Where the file lies when it is not in blobs: byte place of segment's file.
ALTER TABLE images ADD COLUMN segment int;
ALTER TABLE images ADD COLUMN place bigint;
-- Bytes that are still to be erased from a segment: no row keeps them.
CREATE INDEX images_to_erase ON images (segment, place) WHERE NOT kept AND segment IS NOT NULL;
-- Rows come in the order of time: a block range index of some kilobytes finds a day of a billion.
CREATE INDEX images_created ON images USING brin (created) WITH (pages_per_range = 32);

-- One durable row a job. Items are the seeds of its parts, counted through; those below next are in
-- chunks. Nothing here grows with the pictures.
CREATE TABLE bulk_jobs (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner     text NOT NULL,                -- who submitted it, as the broker knows it
    name      text NOT NULL CHECK (name <> ''),
    digest    bytea NOT NULL CHECK (octet_length(digest) = 32),     -- over all that was submitted
    state     text NOT NULL CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    keep      text NOT NULL CHECK (keep IN ('image', 'provenance')),
    priority  smallint NOT NULL CHECK (priority BETWEEN 0 AND 2),
    chunk     int NOT NULL CHECK (chunk > 0),                       -- items
    total     bigint NOT NULL CHECK (total > 0),                    -- items
    next      bigint NOT NULL DEFAULT 0 CHECK (next BETWEEN 0 AND total),
    exporter  timestamptz,                  -- when one was last heard
    created   timestamptz NOT NULL DEFAULT now(),
    finished  timestamptz,
    UNIQUE (owner, name)
);
CREATE INDEX bulk_jobs_running ON bulk_jobs (id) WHERE state = 'running';

CREATE TABLE bulk_parts (
    job_id      bigint NOT NULL REFERENCES bulk_jobs,
    item        bigint NOT NULL CHECK (item >= 0),                  -- number of its first one
    first_seed  bigint NOT NULL CHECK (first_seed BETWEEN 0 AND 4294967295),
    last_seed   bigint NOT NULL CHECK (last_seed BETWEEN first_seed AND 4294967295),
    class_mod   int NOT NULL CHECK (class_mod >= 0),                -- 0: the recipe's class
    recipe      text NOT NULL,                                      -- of first_seed
    PRIMARY KEY (job_id, item)
);

-- A range of items under lease. epoch goes up with each holder and fences what an older one still
-- says; beat goes up with each renewal, so that others can watch one stand still, without comparing
-- clocks.
CREATE TABLE chunks (
    job_id  bigint NOT NULL REFERENCES bulk_jobs,
    item    bigint NOT NULL CHECK (item >= 0),
    count   int NOT NULL CHECK (count > 0),
    epoch   bigint NOT NULL DEFAULT 1,
    beat    bigint NOT NULL DEFAULT 0,
    holder  text NOT NULL,
    state   text NOT NULL CHECK (state IN ('leased', 'done')),
    done    int NOT NULL DEFAULT 0 CHECK (done >= 0),               -- items that have a row
    failed  int NOT NULL DEFAULT 0 CHECK (failed >= 0),
    PRIMARY KEY (job_id, item)
);
CREATE INDEX chunks_leased ON chunks (job_id, item) WHERE state = 'leased';

CREATE TABLE bulk_failures (
    job_id   bigint NOT NULL REFERENCES bulk_jobs,
    item     bigint NOT NULL CHECK (item >= 0),
    code     text NOT NULL,
    message  text NOT NULL,
    PRIMARY KEY (job_id, item)
);

-- Perceptual hashes of a picture and of windows of it, 8 bytes each (base/likeness.h). Read in the
-- order of id by those who hold them in memory.
CREATE TABLE likenesses (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key     bytea NOT NULL,
    hashes  bytea NOT NULL CHECK (octet_length(hashes) % 8 = 0)
);

-- Files outside the database: one row a file of appended pictures (sql/segments.h).
CREATE TABLE segments (
    id       int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    writer   text NOT NULL,
    created  timestamptz NOT NULL DEFAULT now()
);

-- How long or how much of a model's files is kept; no row: for ever.
CREATE TABLE retention (
    model_id  int PRIMARY KEY REFERENCES models,
    days      int CHECK (days > 0),
    bytes     bigint CHECK (bytes > 0)
);
