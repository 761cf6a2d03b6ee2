-- One transfer written by hand: the work of the service's transfer in one function call, one transaction.
-- The accounts are locked in the order of ids, the key is looked up, the rules are checked, the counters move,
-- the transfer is written with both running balances and the decision under its key.
CREATE FUNCTION public.post_transfer(
    p_ledger integer, p_client text, p_key text, p_debit uuid, p_credit uuid, p_amount bigint, p_currency text
) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    request   bytea := uuid_send(md5(concat_ws('|', p_debit, p_credit, p_amount, p_currency))::uuid);
    earlier   record;
    account   record;
    debit     record;
    credit    record;
    moment    timestamptz;
    transfer  uuid;
BEGIN
    FOR account IN
        SELECT id, currency, normal_side, minimum_balance, maximum_balance, status, debits_posted, credits_posted,
               debits_held, credits_held, version
        FROM funds.accounts
        WHERE ledger_id = p_ledger AND id IN (p_debit, p_credit)
        ORDER BY id
        FOR NO KEY UPDATE
    LOOP
        IF account.id = p_debit THEN debit := account; ELSE credit := account; END IF;
    END LOOP;

    SELECT resource_id, fingerprint INTO earlier
    FROM funds.decisions
    WHERE ledger_id = p_ledger AND client_id = p_client AND idempotency_key = p_key;
    IF FOUND THEN
        IF earlier.fingerprint <> request THEN RAISE EXCEPTION 'idempotency_key_reused'; END IF;
        RETURN earlier.resource_id;
    END IF;

    IF debit IS NULL OR credit IS NULL THEN RAISE EXCEPTION 'account_not_found'; END IF;
    IF debit.status <> 'open' OR credit.status <> 'open' THEN RAISE EXCEPTION 'account_frozen'; END IF;
    IF debit.currency <> p_currency OR credit.currency <> p_currency THEN RAISE EXCEPTION 'currency_mismatch'; END IF;
    IF debit.normal_side <> 'credit' OR credit.normal_side <> 'credit' THEN RAISE EXCEPTION 'not_in_this_benchmark'; END IF;
    IF debit.credits_posted - debit.debits_posted - debit.debits_held - p_amount < debit.minimum_balance THEN
        RAISE EXCEPTION 'insufficient_funds';
    END IF;
    IF credit.credits_posted - credit.debits_posted + p_amount > credit.maximum_balance THEN
        RAISE EXCEPTION 'balance_limit_exceeded';
    END IF;

    moment := clock_timestamp();
    transfer := uuidv7();
    UPDATE funds.accounts
    SET debits_posted = debits_posted + p_amount, version = version + 1, updated_at = moment
    WHERE ledger_id = p_ledger AND id = p_debit;
    UPDATE funds.accounts
    SET credits_posted = credits_posted + p_amount, version = version + 1, updated_at = moment
    WHERE ledger_id = p_ledger AND id = p_credit;
    INSERT INTO funds.transfers (ledger_id, id, debit_account_id, credit_account_id, amount, currency,
        debit_account_version, credit_account_version, debit_balance_after, credit_balance_after, metadata,
        effective_at, created_at, client_id, idempotency_key)
    VALUES (p_ledger, transfer, p_debit, p_credit, p_amount, p_currency,
        debit.version + 1, credit.version + 1,
        debit.credits_posted - debit.debits_posted - p_amount,
        credit.credits_posted - credit.debits_posted + p_amount, '{}', moment, moment, p_client, p_key);
    INSERT INTO funds.decisions (ledger_id, client_id, idempotency_key, fingerprint, operation, outcome, resource_id,
        created_at)
    VALUES (p_ledger, p_client, p_key, request, 'post_transfer', 'applied', transfer, moment);
    RETURN transfer;
END $$;
