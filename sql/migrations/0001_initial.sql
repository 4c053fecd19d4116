-- The first schema. What runs a migration also opens and ends its transaction and adds its row to
-- schema_version: no BEGIN, COMMIT or psql commands here.

CREATE TABLE schema_version (
    number   int PRIMARY KEY,
    name     text NOT NULL,
    applied  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE models (
    id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest        bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    arch          text NOT NULL CHECK (arch <> ''),
    width         int NOT NULL CHECK (width > 0),
    height        int NOT NULL CHECK (height > 0),
    num_ws        int NOT NULL CHECK (num_ws > 0),
    z_dim         int NOT NULL CHECK (z_dim > 0),
    w_dim         int NOT NULL CHECK (w_dim > 0),
    c_dim         int NOT NULL CHECK (c_dim >= 0),
    noise_modes   int NOT NULL,             -- bit (1 << enum recipe_noise), see proto/recipe.h
    has_transform boolean NOT NULL,
    licence       text NOT NULL,            -- '' when the file says nothing
    created       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE model_names (
    name      text PRIMARY KEY CHECK (name <> ''),
    model_id  int NOT NULL REFERENCES models,
    changed   timestamptz NOT NULL DEFAULT now()
);

-- One row a start of a worker: everything besides the recipe that can change a pixel or a byte.
-- 63: what struct ledger_stored and struct ledger_row have room for.
CREATE TABLE runs (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker         text NOT NULL,
    version        text NOT NULL,
    backend        text NOT NULL,
    device         text NOT NULL,
    driver         text NOT NULL,
    numerics_class text NOT NULL CHECK (octet_length(numerics_class) BETWEEN 1 AND 63),
    encoder        text NOT NULL CHECK (octet_length(encoder) BETWEEN 1 AND 63),
    libraries      text NOT NULL,
    started        timestamptz NOT NULL DEFAULT now()
);

-- The recipe's text from its line "cutoff=" on: what model, seed and psi leave open. A handful of
-- rows, shared by all images of a kind; only random noise and transforms make many.
CREATE TABLE options (
    id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text  text NOT NULL UNIQUE CHECK (text LIKE E'cutoff=%\n')
);

-- One row an image, about 220 bytes; the widest columns first, so that nothing is padded. The
-- recipe is model_id, seed, psi and options_id; numerics class and encoder are the run's. The
-- references are checked by the statement that inserts: a foreign key would lock the same row of
-- models, options and runs for every writer.
CREATE TABLE images (
    seed        bigint NOT NULL CHECK (seed BETWEEN 0 AND 4294967295),
    run_id      bigint NOT NULL,
    render_us   bigint NOT NULL CHECK (render_us >= 0),    -- the batch's time
    created     timestamptz NOT NULL DEFAULT now(),
    model_id    int NOT NULL,
    options_id  int NOT NULL,
    psi         int NOT NULL CHECK (psi BETWEEN -2000000 AND 2000000),     -- millionths
    batch_size  int NOT NULL CHECK (batch_size > 0),
    bytes       int NOT NULL CHECK (bytes > 0),            -- of the file, kept or not
    kept        boolean NOT NULL,                          -- its row in blobs exists
    key         bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    subject     bytea NOT NULL CHECK (octet_length(subject) = 32),
    file_sha    bytea NOT NULL CHECK (octet_length(file_sha) = 32),
    core_sha    bytea NOT NULL CHECK (octet_length(core_sha) = 32)
);
CREATE INDEX images_model_seed_psi ON images (model_id, seed, psi);
CREATE INDEX images_file_sha ON images (file_sha);
CREATE INDEX images_core_sha ON images (core_sha);
CREATE INDEX images_subject ON images (subject);

-- The files, apart from images so that provenance stays small and a backup can leave them out. In
-- 64 parts, because one table ends at 32 TB and at 4 billion out-of-line values. JPEG does not
-- compress: EXTERNAL saves the attempt.
CREATE TABLE blobs (
    key   bytea NOT NULL PRIMARY KEY,
    data  bytea NOT NULL
) PARTITION BY HASH (key);
ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL;
DO $$
BEGIN
    FOR part IN 0..63 LOOP
        EXECUTE format('CREATE TABLE blobs_%s PARTITION OF blobs '
                       'FOR VALUES WITH (MODULUS 64, REMAINDER %s)', part, part);
        EXECUTE format('ALTER TABLE blobs_%s ALTER COLUMN data SET STORAGE EXTERNAL', part);
    END LOOP;
END
$$;

-- Tombstones: a subject named here is never stored and never answered with bytes again.
CREATE TABLE withdrawn (
    subject  bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    reason   text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
