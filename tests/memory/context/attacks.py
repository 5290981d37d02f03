"""What somebody might have a model ask a database, who is after more than it may tell."""

from typing import Final

COMMON: Final = """
SELECT * FROM secrets
SELECT word FROM everything
SELECT card FROM orders
SELECT orders.card FROM orders
SELECT o.card FROM orders AS o
SELECT o.* , card FROM orders o
SELECT main.orders.card FROM orders
SELECT public.orders.card FROM orders
SELECT (SELECT word FROM secrets LIMIT 1)
SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM secrets WHERE word LIKE 'S%')
SELECT id FROM orders WHERE id IN (SELECT id FROM secrets)
SELECT id FROM orders UNION ALL SELECT word FROM secrets
SELECT customer FROM orders EXCEPT SELECT word FROM secrets
SELECT id FROM orders ORDER BY (SELECT word FROM secrets)
SELECT id FROM orders LIMIT (SELECT length(word) FROM secrets)
SELECT count(*) FROM orders GROUP BY (SELECT word FROM secrets)
SELECT CASE WHEN (SELECT word FROM secrets) LIKE 'S%' THEN 1 ELSE 0 END
SELECT * FROM (SELECT * FROM secrets) AS orders
SELECT * FROM orders JOIN secrets ON secrets.id = orders.id
SELECT * FROM orders, secrets
SELECT * FROM orders NATURAL JOIN secrets
SELECT * FROM (orders JOIN secrets USING (id))
SELECT * FROM orders LEFT JOIN LATERAL (SELECT * FROM secrets) AS s ON true
WITH orders AS (SELECT * FROM secrets) SELECT * FROM orders
WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets
WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1) SELECT * FROM a
WITH RECURSIVE secrets AS (SELECT 1 AS id) SELECT * FROM secrets JOIN everything ON true
SELECT * FROM secrets WHERE EXISTS (WITH secrets AS (SELECT 1) SELECT 1 FROM secrets)
SELECT * FROM (WITH secrets AS (SELECT 1 AS a) SELECT * FROM secrets) AS x, secrets
WITH cards AS (SELECT * FROM secrets) SELECT * FROM cards
WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x
WITH x AS (INSERT INTO orders (id) VALUES (9) RETURNING *) SELECT * FROM x
WITH x AS (UPDATE orders SET total = 0 RETURNING *) SELECT * FROM x
WITH x AS (SELECT 1) DELETE FROM orders
WITH x AS (SELECT 1) INSERT INTO orders (id) SELECT 9
DELETE FROM orders
UPDATE orders SET total = 0
INSERT INTO orders (id) VALUES (9)
DROP TABLE orders
CREATE TABLE mine AS SELECT * FROM secrets
ALTER TABLE orders ADD COLUMN x TEXT
SELECT 1; DELETE FROM orders
SELECT 1;; SELECT * FROM secrets
SELECT 1; /* */ ; DROP TABLE orders
SELECT 1 -- \n; DELETE FROM orders
/* SELECT */ DELETE FROM orders
SELECT 1 /* '*/; DELETE FROM orders; -- ' */
SELECT '\\'; DELETE FROM orders; --'
SELECT 'a\\' || (SELECT word FROM secrets) || '\\'
SELECT "a"" FROM secrets" FROM orders
SELECT * FROM "secrets"
SELECT * FROM `secrets`
SELECT * FROM [secrets]
SELECT * FROM SECRETS
SELECT * FROM "orders""; DELETE FROM orders; --"
SELECT * INTO mine FROM orders
SELECT * FROM orders FOR UPDATE
TABLE secrets
VALUES ((SELECT word FROM secrets))
(SELECT * FROM secrets)
BEGIN
COMMIT; DELETE FROM orders
EXPLAIN SELECT * FROM secrets
SELECT orders FROM orders
SELECT count(card) FROM orders
SELECT sum(length(card)) OVER (PARTITION BY card) FROM orders
SELECT max(x.card) FROM (SELECT * FROM orders) AS x
SELECT * FROM orders WHERE card = 'SWORDFISH'
SELECT * FROM orders AS o (a, b, c, d, e)
SELECT * FROM main.secrets
SELECT * FROM public.secrets
SELECT :word, ?, $1, @word FROM orders
""".strip().splitlines()

SQLITE: Final = """
SELECT * FROM sqlite_master
SELECT * FROM sqlite_schema
SELECT sql FROM main.sqlite_master
SELECT * FROM sqlite_temp_master
SELECT * FROM sqlite_sequence
SELECT * FROM dbstat
PRAGMA table_info(secrets)
SELECT * FROM pragma_table_info('secrets')
SELECT * FROM pragma_database_list
SELECT * FROM pragma_table_list()
ATTACH DATABASE '/tmp/x.db' AS x
SELECT load_extension('/tmp/x.so')
SELECT readfile('/etc/passwd')
SELECT writefile('/tmp/tertulia-attack', 'x')
SELECT fts3_tokenizer('simple')
SELECT zeroblob(1000000000)
SELECT randomblob(100000000)
SELECT hex(zeroblob(100000000))
SELECT printf('%.*c', 100000000, 'x')
SELECT format('%1000000000d', 1)
SELECT * FROM json_each('[1,2]')
SELECT * FROM generate_series(1, 1000000000)
SELECT rowid, card FROM orders
SELECT "card" FROM orders
SELECT [card] FROM orders
SELECT `card` FROM orders
SELECT card FROM orders INDEXED BY x
SELECT customer COLLATE nocase FROM orders WHERE card MATCH 'S*'
SELECT sqlite_version()
SELECT sqlite_compileoption_get(1)
SELECT last_insert_rowid()
VACUUM INTO '/tmp/tertulia-attack'
REPLACE INTO orders (id) VALUES (9)
SELECT 1 UNION SELECT sql FROM sqlite_master
SELECT likelihood(1, 0.5)
SELECT edit('x')
""".strip().splitlines()

POSTGRESQL: Final = """
SELECT pg_read_file('/etc/passwd')
SELECT "pg_read_file"('/etc/passwd')
SELECT PG_READ_FILE('/etc/passwd')
SELECT pg_catalog.pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('/etc/passwd')
SELECT pg_ls_dir('/')
SELECT * FROM pg_ls_dir('/')
SELECT pg_sleep(100)
SELECT (SELECT pg_sleep(100)) FROM orders
SELECT id FROM orders WHERE pg_sleep(100) IS NULL
SELECT pg_terminate_backend(1)
SELECT pg_reload_conf()
SELECT set_config('transaction_read_only', 'off', false)
SELECT current_setting('data_directory')
SELECT lo_import('/etc/passwd')
SELECT lo_from_bytea(0, 'x')
SELECT lo_export(1, '/tmp/tertulia-attack')
SELECT lo_get(1)
SELECT dblink('host=127.0.0.1', 'SELECT 1')
SELECT * FROM dblink('dbname=postgres', 'SELECT word FROM secrets') AS t(word text)
SELECT query_to_xml('SELECT * FROM secrets', true, true, '')
SELECT query_to_xml_and_xmlschema('SELECT * FROM secrets', true, true, '')
SELECT table_to_xml('secrets', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT schema_to_xml('public', true, true, '')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT ts_stat('SELECT word FROM secrets')
SELECT * FROM ts_stat('SELECT to_tsvector(word) FROM secrets')
SELECT * FROM crosstab('SELECT 1, 1, word FROM secrets') AS t(a int, b text)
SELECT * FROM pg_catalog.pg_authid
SELECT * FROM pg_authid
SELECT * FROM pg_shadow
SELECT * FROM pg_class
SELECT * FROM information_schema.tables
SELECT * FROM pg_stat_activity
SELECT * FROM pg_settings
SELECT * FROM pg_stats
SELECT most_common_vals FROM pg_stats WHERE tablename = 'secrets'
SELECT 'secrets'::regclass
SELECT CAST('secrets' AS regclass)
SELECT 1::public.orders
SELECT xmlparse(document '<x/>')
SELECT '<x/>'::xml
SELECT * FROM xmltable('/x' PASSING '<x/>' COLUMNS y text)
SELECT $$x$$; DELETE FROM orders
SELECT $a$ $a$ || (SELECT word FROM secrets)
SELECT E'\\' || (SELECT word FROM secrets) || E'\\''
SELECT U&'\\0053' FROM U&"\\0073ecrets"
SELECT * FROM U&"secrets"
SELECT 1 OPERATOR(pg_catalog.+) 1
SELECT nextval('orders_id_seq')
SELECT setval('orders_id_seq', 1)
SELECT pg_advisory_lock(1)
SELECT pg_notify('a', 'b')
SELECT pg_export_snapshot()
SELECT txid_current()
SELECT pg_stat_file('/etc/passwd')
SELECT pg_rotate_logfile()
SELECT pg_file_write('/tmp/tertulia-attack', 'x', false)
SELECT has_table_privilege('secrets', 'select')
SELECT to_regclass('secrets')
SELECT pg_get_viewdef('everything')
SELECT pg_get_functiondef(1)
SELECT obj_description(1)
SELECT repeat('x', 1000000000)
SELECT lpad('x', 1000000000)
SELECT generate_series(1, 1000000000)
SELECT * FROM generate_series(1, 1000000000)
SELECT array_fill(1, ARRAY[100000000])
SELECT evil() FROM orders
SELECT public.evil() FROM orders
SELECT evil(orders) FROM orders
SELECT orders.evil_of FROM orders
SELECT lower(orders) FROM orders
SELECT orders.lower FROM orders
SELECT (orders).card FROM orders
SELECT (o).card FROM orders AS o
SELECT (row(o.*)).f5 FROM orders AS o
SELECT row_to_json(orders) FROM orders
SELECT to_json(o) FROM orders AS o
SELECT o::text FROM orders AS o
SELECT ctid, xmin, tableoid FROM orders
SELECT tableoid::regclass FROM orders
SELECT current_user, session_user, current_catalog, current_schema, user
SELECT version()
SELECT inet_server_addr()
SELECT * FROM ONLY secrets
SELECT * FROM orders TABLESAMPLE SYSTEM (100)
SELECT * FROM ROWS FROM (pg_ls_dir('/')) AS x
SELECT * FROM orders WHERE CURRENT OF c
COPY secrets TO STDOUT
COPY (SELECT 1) TO PROGRAM 'touch /tmp/tertulia-attack'
COPY orders FROM '/etc/passwd'
DO $$ BEGIN DELETE FROM orders; END $$
CALL evil()
SET transaction_read_only = off
SET ROLE postgres
RESET ALL
LISTEN x
PREPARE x AS SELECT * FROM secrets
EXECUTE x
DECLARE c CURSOR FOR SELECT * FROM secrets
FETCH ALL FROM c
LOCK TABLE orders
TRUNCATE orders
VACUUM
ANALYZE secrets
GRANT ALL ON secrets TO PUBLIC
MERGE INTO orders USING items ON true WHEN MATCHED THEN DELETE
IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z
LOAD 'x'
SHOW data_directory
SELECT * FROM orders WHERE id = ANY (SELECT id FROM secrets)
SELECT ARRAY(SELECT word FROM secrets)
SELECT string_agg(word, ',') FROM secrets
SELECT id FROM orders GROUP BY GROUPING SETS ((id), ((SELECT word FROM secrets)))
SELECT DISTINCT ON ((SELECT word FROM secrets)) id FROM orders
SELECT id FROM orders FETCH FIRST (SELECT length(word) FROM secrets) ROWS ONLY
SELECT count(*) FILTER (WHERE (SELECT word FROM secrets) > 'A') FROM orders
SELECT sum(total) OVER (ORDER BY (SELECT word FROM secrets)) FROM orders
SELECT percentile_cont((SELECT 0.5 FROM secrets)) WITHIN GROUP (ORDER BY total) FROM orders
SELECT interval '1 day' * (SELECT id FROM secrets)
SELECT extract(year FROM (SELECT now() FROM secrets))
SELECT now() AT TIME ZONE (SELECT word FROM secrets)
SELECT customer -> (SELECT word FROM secrets) FROM orders
""".strip().splitlines()
