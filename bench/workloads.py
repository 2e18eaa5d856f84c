"""Tables, and what is written to them. `slots` is measured; a row in `mark` ends a run."""

COLUMNS = {
    # name: (key type, key expression, further columns, their values for row n)
    "uuid": ("uuid", "gen_random_uuid()"),
    "uuid7": (
        "uuid",
        # Time-ordered: the milliseconds, then random bits.
        "(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || "
        "substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid",
    ),
    "bigint": ("bigint", "n"),
}


class Shape:
    """A table: the kind of its key, and whether a row has 1 kB more."""

    def __init__(self, key="uuid", wide=False):
        self.key, self.wide = key, wide
        kind, self.expression = COLUMNS[key]
        self.table = (
            f"CREATE TABLE slots (id {kind} PRIMARY KEY, name text NOT NULL, status text NOT NULL"
            f"{', payload text NOT NULL' if wide else ''});"
            "CREATE TABLE mark (n bigint PRIMARY KEY)"
        )

    @property
    def text(self):
        key = {"uuid": "random uuid", "uuid7": "time-ordered uuid", "bigint": "bigint"}[self.key]
        return f"{key} key, {'1 kB rows' if self.wide else 'narrow rows'}"

    def insert(self, n):
        """SELECT of rows; n is an expression over generate_series."""
        payload = ", repeat(md5(n::text), 32)" if self.wide else ""
        return (
            f"INSERT INTO slots SELECT {self.expression}, 'Slot ' || n, 'available'{payload} "
            f"FROM generate_series({n}) n"
        )


def in_transactions(statement, count, per_transaction):
    """statement has {a} and {b}: the first and last number that a transaction writes."""
    body = statement.format(a="a", b=f"a + {per_transaction} - 1")
    return (
        f"DO $do$ BEGIN FOR a IN 1..{count} BY {per_transaction} LOOP {body}; COMMIT; "
        "END LOOP; END $do$"
    )


class Workload:
    """What a case writes. fill: before anything is replicated; write: what is measured."""

    def __init__(self, shape, count, per_transaction, text):
        self.shape, self.count, self.per_transaction = shape, count, per_transaction
        self.text = f"{text}; {shape.text}"

    def fill(self, primary):
        pass

    def write(self, primary):
        primary.run("SET synchronous_commit = off")
        self._write(primary)
        primary.run("SET synchronous_commit = on")
        primary.run("INSERT INTO mark VALUES (1)")


class Insert(Workload):
    def _write(self, primary):
        statement = self.shape.insert("{a}, {b}")
        if self.per_transaction == self.count:
            primary.run(statement.format(a=1, b=self.count))
        else:
            primary.run(in_transactions(statement, self.count, self.per_transaction))


class Filled(Workload):
    """Starts from rows that are there; `ids` numbers them in random order."""

    rows = None

    def fill(self, primary):
        primary.run(self.shape.insert(f"1, {self.rows or self.count}"))
        primary.run(
            "CREATE TABLE ids AS SELECT row_number() OVER (ORDER BY random()) AS n, id FROM slots"
        )
        primary.run("CREATE UNIQUE INDEX ON ids (n)")
        primary.run("ANALYZE ids, slots")


class Update(Filled):
    def _write(self, primary):
        primary.run(
            in_transactions(
                "UPDATE slots SET status = 'reserved' FROM ids "
                "WHERE slots.id = ids.id AND ids.n BETWEEN {a} AND {b}",
                self.count,
                self.per_transaction,
            )
        )


class Delete(Filled):
    def _write(self, primary):
        primary.run(
            in_transactions(
                "DELETE FROM slots USING ids WHERE slots.id = ids.id AND ids.n BETWEEN {a} AND {b}",
                self.count,
                self.per_transaction,
            )
        )


class Mix(Filled):
    """70 % updates, of them 80 % on 1,000 hot rows; 15 % inserts, 15 % deletes; each a statement."""

    rows = 100_000

    def _write(self, primary):
        primary.run("SELECT setseed(0.42)")
        primary.run(
            f"""
            DO $do$
            DECLARE dice float8; pick bigint; cold bigint := 1000;
            BEGIN
                FOR i IN 1..{self.count} LOOP
                    dice := random();
                    IF dice < 0.7 THEN
                        pick := CASE WHEN random() < 0.8 THEN 1 + random() * 999
                                     ELSE 1 + random() * {self.rows - 1} END;
                        UPDATE slots SET name = 'Slot ' || i
                        WHERE id = (SELECT id FROM ids WHERE n = pick);
                    ELSIF dice < 0.85 THEN
                        INSERT INTO slots VALUES (gen_random_uuid(), 'Slot ' || i, 'available');
                    ELSE
                        cold := cold + 1;
                        DELETE FROM slots WHERE id = (SELECT id FROM ids WHERE n = cold);
                    END IF;
                    IF i % {self.per_transaction} = 0 THEN COMMIT; END IF;
                END LOOP;
            END $do$"""
        )
