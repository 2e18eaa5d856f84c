"""The write side: pgbench of a command against other ways to write the same row."""

import re
import subprocess

from database import Database

SETUP = """
CREATE TABLE plain (uuid uuid PRIMARY KEY, name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    status text NOT NULL CHECK (status IN ('available', 'blocked', 'reserved')));
CREATE FUNCTION create_plain(name text) RETURNS plain LANGUAGE plpgsql AS $$
DECLARE made plain;
BEGIN
    INSERT INTO plain VALUES (gen_random_uuid(), name, 'available') RETURNING * INTO made;
    RETURN made;
END $$;

CREATE TABLE boxed (LIKE plain INCLUDING ALL);
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event jsonb NOT NULL);
-- Written and deleted at once, as change data capture reads it from WAL.
CREATE FUNCTION to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE made bigint;
BEGIN
    INSERT INTO outbox (event) VALUES (jsonb_build_object('type', 'slot.create', 'data', to_jsonb(NEW)))
        RETURNING id INTO made;
    DELETE FROM outbox WHERE id = made;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox AFTER INSERT ON boxed FOR EACH ROW EXECUTE FUNCTION to_outbox();

CREATE TABLE told (LIKE plain INCLUDING ALL);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('slot', jsonb_build_object('type', 'slot.create', 'data', to_jsonb(NEW))::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON told FOR EACH ROW EXECUTE FUNCTION tell();
"""

SCRIPTS = {
    "command": "SELECT * FROM create_parking_slot('Slot')",
    "plpgsql": "SELECT * FROM create_plain('Slot')",
    "outbox": "INSERT INTO boxed VALUES (gen_random_uuid(), 'Slot', 'available') RETURNING *",
    "notify": "INSERT INTO told VALUES (gen_random_uuid(), 'Slot', 'available') RETURNING *",
}

TEXT = {
    "plpgsql": "the same INSERT in plpgsql",
    "outbox": "INSERT with a trigger that fills an outbox table and deletes the row",
    "notify": "INSERT with a trigger that calls pg_notify",
}


class Writing:
    def __init__(self, rig):
        self.rig, self.database = rig, Database(rig.primary, "writing")

    def __enter__(self):
        self.database.create()
        self.database.run("CREATE EXTENSION parking CASCADE")
        self.database.run(SETUP)
        for name, script in SCRIPTS.items():
            (self.rig.directory / f"{name}.sql").write_text(script + ";\n")
        return self

    def __exit__(self, *_):
        self.database.drop()

    def run(self, name, clients, seconds):
        """Transactions a second."""
        self.database.run("TRUNCATE parking_slots, plain, boxed, outbox, told")
        self.database.run("CHECKPOINT")
        output = subprocess.check_output(
            [self.rig.programs / "pgbench", "-n", "-M", "prepared", "-c", str(clients)]
            + ["-j", str(min(2, clients)), "-T", str(seconds)]
            + ["-f", self.rig.directory / f"{name}.sql", self.database.url],
            text=True,
            stderr=subprocess.DEVNULL,
            timeout=seconds + 60,
        )
        return float(re.search(r"^tps = ([0-9.]+)", output, re.M).group(1))
