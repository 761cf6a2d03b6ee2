-- The roles and the schema of the service. Run it once in the service's own database, before the first `funds migrate`,
-- as a superuser or as a CREATEROLE role that owns the database. It may be run again at any time.
--
-- funds_owner    owns the schema and runs the migrations
-- funds_service  what the service uses: reads and adds rows; a migration that makes a mutable table grants UPDATE itself
-- funds_operator what `funds tokens` uses: makes and revokes tokens, which the service's role can only look up
-- funds_auditor  what `funds verify` and `funds export` use: reads every table, but no hashes of tokens
-- funds_reader   people and programs that ask in SQL: the views of the schema funds_audit, which have no tokens and no
--                idempotency keys (service/docs/views.md)
--
-- No role has a password here: set one (ALTER ROLE … PASSWORD) or use another method of pg_hba.conf.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['funds_owner', 'funds_service', 'funds_operator', 'funds_auditor', 'funds_reader'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- it exists, or another session made it at the same moment
        END;
    END LOOP;

    -- A role that is no superuser must be a member of funds_owner to make its schema and its default privileges.
    IF NOT pg_has_role(current_user, 'funds_owner', 'USAGE') THEN
        EXECUTE format('GRANT funds_owner TO %I', current_user);
    END IF;

    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO funds_owner, funds_service, funds_operator, funds_auditor, funds_reader',
        current_database()
    );
    -- funds_owner keeps the server's search_path: Alembic compares the models by their full names.
    EXECUTE format(
        'ALTER ROLE funds_service IN DATABASE %I SET search_path = funds', current_database()
    );
    EXECUTE format(
        'ALTER ROLE funds_operator IN DATABASE %I SET search_path = funds', current_database()
    );
    EXECUTE format(
        'ALTER ROLE funds_auditor IN DATABASE %I SET search_path = funds', current_database()
    );
    EXECUTE format(
        'ALTER ROLE funds_reader IN DATABASE %I SET search_path = funds_audit', current_database()
    );
END
$$;

CREATE SCHEMA IF NOT EXISTS funds AUTHORIZATION funds_owner;

REVOKE ALL ON SCHEMA funds FROM PUBLIC;
GRANT USAGE ON SCHEMA funds TO funds_service, funds_operator, funds_auditor;

-- Append-only unless a migration says otherwise: no UPDATE, DELETE or TRUNCATE for anybody but the owner.
ALTER DEFAULT PRIVILEGES FOR ROLE funds_owner IN SCHEMA funds GRANT SELECT, INSERT ON TABLES TO funds_service;
ALTER DEFAULT PRIVILEGES FOR ROLE funds_owner IN SCHEMA funds GRANT SELECT ON TABLES TO funds_auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE funds_owner IN SCHEMA funds GRANT USAGE ON SEQUENCES TO funds_service;

CREATE SCHEMA IF NOT EXISTS funds_audit AUTHORIZATION funds_owner;

REVOKE ALL ON SCHEMA funds_audit FROM PUBLIC;
GRANT USAGE ON SCHEMA funds_audit TO funds_auditor, funds_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA funds_audit TO funds_auditor, funds_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE funds_owner IN SCHEMA funds_audit
    GRANT SELECT ON TABLES TO funds_auditor, funds_reader;

-- Migrations grant what is particular to a table, to the roles that are there. A role made after them gets it here.
DO $$ BEGIN
    IF to_regclass('funds.tokens') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE (revoked_at) ON funds.tokens TO funds_operator;
        GRANT SELECT (id, name) ON funds.ledgers TO funds_operator;
        GRANT SELECT ON funds.alembic_version TO funds_operator;
    END IF;
    IF to_regclass('funds.ledger_heads') IS NOT NULL THEN
        GRANT SELECT, UPDATE (last_at) ON funds.ledger_heads TO funds_operator;
    END IF;
    IF to_regclass('funds.history') IS NOT NULL THEN
        GRANT SELECT, INSERT ON funds.history TO funds_operator;
    END IF;
    IF to_regclass('funds.token_uses') IS NOT NULL THEN
        GRANT SELECT ON funds.token_uses TO funds_operator;
    END IF;
END $$;
