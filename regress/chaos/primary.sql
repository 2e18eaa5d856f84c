-- The primary: triggers keep each topic's fingerprint, so that the checker needs to know nothing of
-- what the writers do. They are statements' triggers: one event of the ledger a statement.
SET search_path = chaos;

CREATE TABLE history (
    topic text, version bigint, chain text NOT NULL, fingerprint bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, version)
);
INSERT INTO ledger_shop VALUES ('shop', 0, 0, '');
INSERT INTO ledger_depot VALUES ('depot', 0, 0, '');
INSERT INTO ledger_log VALUES ('log', 0, 0, '');
INSERT INTO history SELECT topic, 0, '', 0 FROM unnest(ARRAY['shop', 'depot', 'log']) topic;

CREATE FUNCTION changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    delta bigint := 0;
    part bigint;
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        SELECT bit_xor(hashtextextended(n::text, 0)) INTO part FROM n;
        delta := delta # coalesce(part, 0);
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        SELECT bit_xor(hashtextextended(o::text, 0)) INTO part FROM o;
        delta := delta # coalesce(part, 0);
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT coalesce(bit_xor(hashtextextended(t::text, 0)), 0) FROM chaos.%I t', TG_TABLE_NAME) INTO delta;
    END IF;
    IF delta <> 0 THEN
        EXECUTE format('UPDATE chaos.%I SET fingerprint = fingerprint # $1', 'ledger_' || TG_ARGV[0]) USING delta;
    END IF;
    RETURN NULL;
END $$;

-- The last statement of a transaction for each topic that it touched.
CREATE FUNCTION seal(topic text, OUT version bigint, OUT chain text, OUT fingerprint bigint) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('UPDATE chaos.%I SET version = version + 1, chain = md5(concat_ws('' '', chain, version, fingerprint, pg_current_xact_id())) '
                   'RETURNING version, chain, fingerprint', 'ledger_' || topic) INTO version, chain, fingerprint;
    INSERT INTO chaos.history VALUES (topic, version, chain, fingerprint);
END $$;

DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM (VALUES ('account', 'shop'), ('item', 'shop'), ('box', 'depot'), ('pallet', 'depot'), ('entry', 'log')) v (relation, topic) LOOP
        EXECUTE format('CREATE TRIGGER i AFTER INSERT ON chaos.%I REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION chaos.changed(%L)', r.relation, r.topic);
        EXECUTE format('CREATE TRIGGER u AFTER UPDATE ON chaos.%I REFERENCING NEW TABLE AS n OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION chaos.changed(%L)', r.relation, r.topic);
        EXECUTE format('CREATE TRIGGER d AFTER DELETE ON chaos.%I REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION chaos.changed(%L)', r.relation, r.topic);
        EXECUTE format('CREATE TRIGGER t BEFORE TRUNCATE ON chaos.%I FOR EACH STATEMENT EXECUTE FUNCTION chaos.changed(%L)', r.relation, r.topic);
        PERFORM cqrs.publish(format('chaos.%I', r.relation)::regclass, r.topic || '.' || r.relation);
    END LOOP;
    FOR r IN SELECT unnest(ARRAY['shop', 'depot', 'log']) AS topic LOOP
        PERFORM cqrs.publish(format('chaos.%I', 'ledger_' || r.topic)::regclass, r.topic || '.ledger');
    END LOOP;
END $$;
