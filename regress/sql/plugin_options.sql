-- Options of the plugin: unknown, given twice, without a value or out of range are refused.
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_options', 'pg_cqrs');
\set get 'SELECT data FROM pg_logical_slot_peek_changes(''plugin_options'', NULL, NULL, '
\set VERBOSITY default
:get 'include-xids', '1');
\set VERBOSITY sqlstate
:get 'format', 'text', 'include-xids', '1');
\set VERBOSITY terse
:get 'format', 'json');
:get 'format', NULL);
:get 'format', 'text', 'format', 'text');
:get 'Format', 'text');
:get 'origins', 'all');
:get 'batch_bytes', '1023');
:get 'batch_bytes', '16777217');
:get 'batch_bytes', '-1');
:get 'batch_bytes', '');
:get 'batch_bytes', '64kB');
:get 'batch_bytes', '99999999999999999999999999');
:get 'max_event_bytes', '1000');
:get 'max_event_bytes', '536870913');
:get 'source', '');
:get 'source', 'has a space');
:get 'source', 'ünicode');
:get 'heartbeat', '');
:get 'heartbeat', repeat('x', 65));
-- frames are bytes
:get 'format', 'frame');
-- all of them
:get 'format', 'text', 'batch_bytes', '1024', 'max_event_bytes', '536870912', 'origins', 'any', 'source', '/x', 'heartbeat', repeat('x', 64));
SELECT data FROM pg_logical_slot_peek_binary_changes('plugin_options', NULL, NULL, 'format', 'frame', 'batch_bytes', '16777216', 'max_event_bytes', '1024', 'origins', 'none');
-- the default source: database, system, timeline
SELECT cqrs.emit('any.thing', '{}');
SELECT regexp_replace(data::json->>'source', '/\d+/1$', '/<system>/1') FROM pg_logical_slot_peek_changes('plugin_options', NULL, NULL);
CREATE DATABASE "plugin % ü/db" TEMPLATE template0;
\c "plugin % ü/db"
SELECT 'init' FROM pg_create_logical_replication_slot('plugin_options2', 'pg_cqrs');
SELECT 1 FROM pg_logical_emit_message(true, 'cqrs.event', convert_to('any.thing', 'UTF8') || '\x00'::bytea || convert_to('{}', 'UTF8'));
SELECT regexp_replace(data::json->>'source', '/\d+/1$', '/<system>/1') FROM pg_logical_slot_peek_changes('plugin_options2', NULL, NULL);
SELECT pg_drop_replication_slot('plugin_options2');
\c contrib_regression
DROP DATABASE "plugin % ü/db";
SELECT pg_drop_replication_slot('plugin_options');
