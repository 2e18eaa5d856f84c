"""What a writer may do in one transaction. Each function takes a cursor and a random generator, and
returns the topics that it touched. They aim at what is hard to replicate, not at being realistic."""
import json

from model import MARK

ACCOUNTS, ITEMS, PHOTOS, SHELVES, CODES = 800, 1500, 30, 12, 40


def text(rng, size):
    return "".join(rng.choices("abcdefghij \"'\\\u00e4\u20ac\U0001f697\n", k=min(size, 64))) * max(1, size // 64)


def account(rng):
    return rng.randint(1, ACCOUNTS)


def open_account(cur, rng):
    cur.execute("INSERT INTO chaos.account (id, email, balance, note) VALUES (%s, gen_random_uuid()::text, %s, %s) "
                "ON CONFLICT (id) DO UPDATE SET balance = account.balance + 1", (account(rng), rng.randint(0, 9999) / 100, text(rng, 40)))
    return ["shop"]


def transfer(cur, rng):
    for amount in (7.5, -7.5):
        cur.execute("UPDATE chaos.account SET balance = balance + %s, vip = NOT vip WHERE id = %s", (amount, account(rng)))
    return ["shop"]


def long_note(cur, rng):
    """Out of line; transfer() leaves it unchanged, so that its value does not travel."""
    cur.execute("UPDATE chaos.account SET note = %s WHERE id = %s", (text(rng, rng.choice([3000, 20000])), account(rng)))
    return ["shop"]


def change_key(cur, rng):
    """With a note that did not change and may be out of line."""
    old, new = account(rng), account(rng)
    cur.execute("UPDATE chaos.account SET id = %s WHERE id = %s AND NOT EXISTS (SELECT 1 FROM chaos.account WHERE id = %s)", (new, old, new))
    if rng.random() < 0.5:
        cur.execute("UPDATE chaos.account SET balance = balance + 1 WHERE id = %s", (new,))
    return ["shop"]


def rotate_keys(cur, rng):
    """Keys that many rows take over from one another."""
    low = rng.randint(1, ACCOUNTS - 40)
    cur.execute("UPDATE chaos.account SET id = id + 100000 WHERE id BETWEEN %s AND %s", (low, low + 30))
    cur.execute("UPDATE chaos.account SET id = CASE WHEN id = %s THEN %s ELSE id - 100001 END WHERE id BETWEEN %s AND %s "
                "AND NOT EXISTS (SELECT 1 FROM chaos.account WHERE id = %s)", (low + 100000, low + 30, low + 100000, low + 100030, low - 1))
    cur.execute("UPDATE chaos.account SET id = id - 100000 WHERE id > 100000")
    return ["shop"]


def swap_emails(cur, rng):
    """A unique value that is not the key changes hands."""
    cur.execute("SELECT id, email FROM chaos.account WHERE id IN (%s, %s, %s) ORDER BY id FOR UPDATE", (account(rng), account(rng), account(rng)))
    rows = cur.fetchall()
    cur.executemany("UPDATE chaos.account SET email = %s WHERE id = %s", [(f"moving {i}", i) for i, _ in rows])
    cur.executemany("UPDATE chaos.account SET email = %s WHERE id = %s", [(rows[k - 1][1], rows[k][0]) for k in range(len(rows))])
    return ["shop"]


def delete_and_insert(cur, rng):
    key = account(rng)
    cur.execute("DELETE FROM chaos.account WHERE id = %s RETURNING email", (key,))
    row = cur.fetchone()
    if row:
        cur.execute("INSERT INTO chaos.account (id, email, balance) VALUES (%s, %s, 'NaN')", (key, row[0]))
        if rng.random() < 0.3:
            cur.execute("DELETE FROM chaos.account WHERE id = %s", (key,))
    return ["shop"]


def item(cur, rng):
    data = {"k": rng.randint(0, 1 << 40), "list": [None, True, 1.5, text(rng, 30)], "nested": {"a": {"b": []}}}
    cur.execute("INSERT INTO chaos.item (id, account, data, weight) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET "
                "data = EXCLUDED.data, weight = EXCLUDED.weight",
                (rng.randint(PHOTOS + 1, ITEMS), account(rng), json.dumps(data) if rng.random() < 0.9 else rng.choice(["null", None]),
                 rng.choice([0.1, -1e300, 5e-324, float("nan"), float("inf"), rng.random()])))
    return ["shop"]


def wide_item(cur, rng):
    cur.execute("INSERT INTO chaos.item (id, photo) VALUES (%s, decode(repeat(md5(%s), %s), 'hex')) ON CONFLICT (id) DO UPDATE SET photo = EXCLUDED.photo",
                (rng.randint(1, PHOTOS), str(rng.random()), rng.choice([1000, 8000, 60000])))
    cur.execute("UPDATE chaos.item SET account = %s WHERE id = %s", (account(rng), rng.randint(1, PHOTOS)))
    return ["shop"]


def change_items(cur, rng):
    """A few hundred updates of one statement."""
    cur.execute("UPDATE chaos.item SET account = account + 1 WHERE id %% 10 = %s AND id > %s", (rng.randint(0, 9), PHOTOS))
    return ["shop"]


def box(cur, rng):
    for _ in range(rng.randint(1, 6)):
        cur.execute("INSERT INTO chaos.box VALUES (%s, %s, %s, make_interval(secs => %s)) ON CONFLICT (shelf, code) DO UPDATE SET tags = EXCLUDED.tags",
                    (rng.randint(1, SHELVES), f"c{rng.randint(1, CODES)}", [text(rng, 10), None, "x,{}"], rng.random() * 1e6))
    return ["depot"]


def move_boxes(cur, rng):
    """Half of a key changes."""
    old, new = rng.sample(range(1, SHELVES + 1), 2)
    cur.execute("UPDATE chaos.box b SET shelf = %s WHERE shelf = %s AND NOT EXISTS (SELECT 1 FROM chaos.box o WHERE o.shelf = %s AND o.code = b.code)", (new, old, new))
    return ["depot"]


def pallets(cur, rng):
    cur.execute("INSERT INTO chaos.pallet (box, rows, \"Odd \"\"Name\") SELECT 'c' || i, int4range(i, i + 5), %s FROM generate_series(1, %s) i", (text(rng, 20), rng.randint(1, 40)))
    if rng.random() < 0.4:
        cur.execute("DELETE FROM chaos.pallet WHERE ctid IN (SELECT ctid FROM chaos.pallet LIMIT 100)")
    return ["depot"]


def empty_shelf(cur, rng):
    cur.execute("DELETE FROM chaos.box WHERE shelf = %s", (rng.randint(1, SHELVES),))
    return ["depot"]


def truncate_boxes(cur, rng):
    cur.execute("TRUNCATE chaos.box, chaos.pallet")
    if rng.random() < 0.7:
        box(cur, rng)
    return ["depot"]


def entries(cur, rng):
    cur.execute("INSERT INTO chaos.entry (body) SELECT 'entry ' || i FROM generate_series(1, %s) i", (rng.randint(1, 20),))
    return ["log"]


def many_entries(cur, rng):
    """Too large for the applier's memory: it waits in the spool."""
    cur.execute("INSERT INTO chaos.entry (body) SELECT repeat(md5(i::text), 5) FROM generate_series(1, %s) i", (rng.choice([3000, 12000, 30000]),))
    return ["log"]


def truncate_entries(cur, rng):
    cur.execute("TRUNCATE chaos.entry")
    return ["log"] + entries(cur, rng)


def shared(cur, rng):
    """One transaction, several topics."""
    topics = open_account(cur, rng) + box(cur, rng)
    return topics + (entries(cur, rng) if rng.random() < 0.5 else transfer(cur, rng))


def savepoints(cur, rng):
    topics = transfer(cur, rng)
    for n in range(rng.randint(1, 5)):
        cur.execute("SAVEPOINT s")
        lost = rng.random() < 0.5
        topics += box(cur, rng)
        cur.execute("UPDATE chaos.account SET note = %s WHERE id = %s", (MARK if lost else f"kept {n}", account(rng)))
        if lost:
            cur.execute("SELECT cqrs.emit('shop.told', %s)", (json.dumps({"text": MARK}),))
            cur.execute("ROLLBACK TO SAVEPOINT s")
        else:
            cur.execute("RELEASE SAVEPOINT s")
    return topics


def subtransactions(cur, rng):
    cur.execute("""DO $$ BEGIN
        FOR i IN 1 .. 150 LOOP
            BEGIN
                INSERT INTO chaos.entry (body) VALUES (CASE WHEN i % 3 = 0 THEN '""" + MARK + """' ELSE 'sub ' || i END);
                IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
        END LOOP;
    END $$""")
    return ["log"]


def told(cur, rng):
    """A domain event, with context, beside rows or alone."""
    cur.execute("SELECT cqrs.set_context(correlationid => %s)", (f"request {rng.randint(1, 99)}",))
    cur.execute("SELECT cqrs.emit('shop.told', %s)", (json.dumps({"text": text(rng, 50)}),))
    return ["shop"] + (open_account(cur, rng) if rng.random() < 0.5 else [])


WEIGHTS = [
    (open_account, 14), (transfer, 14), (long_note, 5), (change_key, 6), (rotate_keys, 1), (swap_emails, 4), (delete_and_insert, 6),
    (item, 10), (wide_item, 2), (change_items, 1), (box, 10), (move_boxes, 2), (pallets, 5), (empty_shelf, 2), (truncate_boxes, 0.5),
    (entries, 10), (many_entries, 0.4), (truncate_entries, 0.4), (shared, 8), (savepoints, 5), (subtransactions, 0.5), (told, 4),
]
