-- Both sides: three topics, each with a ledger of one row that says how far it has come.
CREATE SCHEMA chaos;
SET search_path = chaos;

-- version: transactions sealed so far; fingerprint: exclusive or of the hashes of all rows of the
-- topic's tables; chain: differs for every history.
CREATE TABLE ledger_shop (topic text PRIMARY KEY, version bigint NOT NULL, fingerprint bigint NOT NULL, chain text NOT NULL);
CREATE TABLE ledger_depot (LIKE ledger_shop INCLUDING ALL);
CREATE TABLE ledger_log (LIKE ledger_shop INCLUDING ALL);

CREATE TABLE account (
    id integer PRIMARY KEY, email text NOT NULL UNIQUE, balance numeric NOT NULL, opened timestamptz NOT NULL DEFAULT now(),
    vip boolean NOT NULL DEFAULT false, note text
);
ALTER TABLE account ALTER COLUMN note SET STORAGE EXTERNAL;
CREATE TABLE item (
    id bigint PRIMARY KEY, account integer, data jsonb, photo bytea, weight double precision,
    doubled double precision GENERATED ALWAYS AS (weight * 2) STORED
);
ALTER TABLE item ALTER COLUMN photo SET STORAGE EXTERNAL;
CREATE TABLE box (shelf integer, code text, tags text[], filled interval, PRIMARY KEY (shelf, code));
CREATE TABLE pallet (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), box text, rows int4range, "Odd ""Name" text NOT NULL DEFAULT '');
CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
