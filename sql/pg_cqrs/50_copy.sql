-- The replica: copies of tables from the primary, while they are made.

-- Written by the process that copies, every second or two; a row stays until the next copy of its prefix.
CREATE TABLE cqrs.copy_progress (
    prefix          text COLLATE "C" PRIMARY KEY,
    relation        text NOT NULL,
    state           text NOT NULL CHECK (state IN ('copying', 'indexing', 'done', 'failed')),
    rows            bigint NOT NULL,
    rows_expected   bigint,
    bytes           bigint NOT NULL,
    rows_per_second bigint,
    seconds_left    bigint,
    started_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Tables that add-replica makes under another name until they are whole. One process at a time
-- writes here; what is finished is kept when it is killed.
CREATE TABLE cqrs.copy_state (
    prefix   text COLLATE "C" PRIMARY KEY,
    staging  text NOT NULL,
    point    pg_lsn NOT NULL,
    epoch    bigint NOT NULL,
    pieces   integer[] NOT NULL DEFAULT '{}',
    finished boolean NOT NULL DEFAULT false
);

COMMENT ON TABLE cqrs.copy_progress IS 'How far the copy of each subscribed table has come, or had come; not dumped';
COMMENT ON COLUMN cqrs.copy_progress.state IS 'copying, indexing, done; failed: it is tried again, see the log';
COMMENT ON COLUMN cqrs.copy_progress.rows_expected IS 'By the primary''s statistics; NULL if it has none';
COMMENT ON COLUMN cqrs.copy_progress.bytes IS 'As they passed through COPY';
COMMENT ON TABLE cqrs.copy_state IS 'Tables that add-replica is making, under a name that nobody reads; not dumped';
COMMENT ON COLUMN cqrs.copy_state.staging IS 'The table''s name until it is whole, qualified and quoted';
COMMENT ON COLUMN cqrs.copy_state.point IS 'Commits of the primary that end at or before this are in the copy';
COMMENT ON COLUMN cqrs.copy_state.epoch IS 'The relay''s numbering at that point';
COMMENT ON COLUMN cqrs.copy_state.pieces IS 'Which pieces of the table are committed';
COMMENT ON COLUMN cqrs.copy_state.finished IS 'All rows and indexes are there: kept when the copy goes on after a kill';
