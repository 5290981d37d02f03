-- Makes the roles of a new database, as its administrator and with psql, before the first "tertulia db upgrade".
--
-- tertulia_owner may make and change tables, and nothing but migrations connects as it. tertulia_service may
-- read and write rows, as a member of tertulia_app, and row-level security binds it. Neither is a superuser.
-- Their passwords are taken from the URLs that the programs use, so that there is one place for each.

\set ON_ERROR_STOP on
\set owner_password `sed -n 's|^[^:]*://[^:]*:\([^@]*\)@.*$|\1|p' /run/secrets/owner_url`
\set service_password `sed -n 's|^[^:]*://[^:]*:\([^@]*\)@.*$|\1|p' /run/secrets/service_url`

-- Divides by zero, and so ends here, when one of them holds no password.
SELECT 1 / least(length(:'owner_password'), length(:'service_password'), 1) AS both_have_passwords;

BEGIN;
CREATE ROLE tertulia_app NOLOGIN;
CREATE ROLE tertulia_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tertulia_service LOGIN PASSWORD :'service_password';
GRANT tertulia_app TO tertulia_service;
ALTER DATABASE :"DBNAME" OWNER TO tertulia_owner;
COMMIT;
