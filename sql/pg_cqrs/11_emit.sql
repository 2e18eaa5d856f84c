-- The primary: domain events and context.

CREATE FUNCTION cqrs.emit(type text, data jsonb) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_emit';

CREATE FUNCTION cqrs.set_context(correlationid text DEFAULT NULL, causationid text DEFAULT NULL,
                                 traceparent text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cqrs_set_context';

COMMENT ON FUNCTION cqrs.emit(text, jsonb) IS
'Emit a domain event, such as parking.opened: it is sent if and only if this transaction commits, in order with its row events. data is at most 14 MiB and 512 levels deep. Errors: 22004 NULL, 22023 bad type, 42939 type of a table''s events, 54000 too large, 54001 too deep';
COMMENT ON FUNCTION cqrs.set_context(text, text, text) IS
'Put correlationid, causationid and traceparent (W3C) on the events of this transaction that come after this call; NULL or empty unsets. At most 255 bytes each. Errors: 22001 too long, 22023 control characters or a malformed traceparent';
