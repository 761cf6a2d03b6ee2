"""The names of the database's constraints: what error translation and tests refer to."""

PK_LEDGERS = "pk_ledgers"
UQ_LEDGERS_NAME = "uq_ledgers_name"
CK_LEDGERS_ID_POSITIVE = "ck_ledgers_id_positive"

PK_LEDGER_HEADS = "pk_ledger_heads"
CK_LEDGER_HEADS_LEDGER = "ck_ledger_heads_ledger"
CK_LEDGER_HEADS_PERIOD = "ck_ledger_heads_period"

PK_ACCOUNTS = "pk_accounts"
UQ_ACCOUNTS_REFERENCE = "uq_accounts_reference"
UQ_ACCOUNTS_CURRENCY = "uq_accounts_currency"
FK_ACCOUNTS_LEDGER = "fk_accounts_ledger"
CK_ACCOUNTS_NORMAL_SIDE = "ck_accounts_normal_side"
CK_ACCOUNTS_STATUS = "ck_accounts_status"
CK_ACCOUNTS_COUNTERS = "ck_accounts_counters"
CK_ACCOUNTS_MINIMUM_BALANCE = "ck_accounts_minimum_balance"
CK_ACCOUNTS_MAXIMUM_BALANCE = "ck_accounts_maximum_balance"
CK_ACCOUNTS_CLOSED_EMPTY = "ck_accounts_closed_empty"

PK_TRANSFERS = "pk_transfers"
UQ_TRANSFERS_DEBIT_VERSION = "uq_transfers_debit_version"
UQ_TRANSFERS_CREDIT_VERSION = "uq_transfers_credit_version"
FK_TRANSFERS_HOLD = "fk_transfers_hold"
CK_TRANSFERS_AMOUNT = "ck_transfers_amount"
CK_TRANSFERS_ACCOUNTS = "ck_transfers_accounts"
CK_TRANSFERS_VERSIONS = "ck_transfers_versions"

PK_HOLDS = "pk_holds"
FK_HOLDS_DEBIT_ACCOUNT = "fk_holds_debit_account"
FK_HOLDS_CREDIT_ACCOUNT = "fk_holds_credit_account"
CK_HOLDS_AMOUNT = "ck_holds_amount"
CK_HOLDS_ACCOUNTS = "ck_holds_accounts"
CK_HOLDS_STATUS = "ck_holds_status"
CK_HOLDS_CLOSED = "ck_holds_closed"
CK_HOLDS_CAPTURED = "ck_holds_captured"
CK_HOLDS_EXPIRY = "ck_holds_expiry"

PK_REVERSED_TRANSFERS = "pk_reversed_transfers"
FK_REVERSED_TRANSFERS_TRANSFER = "fk_reversed_transfers_transfer"
CK_REVERSED_TRANSFERS_AMOUNT = "ck_reversed_transfers_amount"

PK_DECISIONS = "pk_decisions"
CK_DECISIONS_OUTCOME = "ck_decisions_outcome"
CK_DECISIONS_ANSWER = "ck_decisions_answer"

PK_HISTORY = "pk_history"

PK_LOG_TILES = "pk_log_tiles"
CK_LOG_TILES_ROOT = "ck_log_tiles_root"
CK_LOG_TILES_LEAVES = "ck_log_tiles_leaves"
PK_LOG_CHECKPOINTS = "pk_log_checkpoints"
CK_LOG_CHECKPOINTS_SIZE = "ck_log_checkpoints_size"
CK_LOG_CHECKPOINTS_ROOT = "ck_log_checkpoints_root"
PK_LOG_COSIGNATURES = "pk_log_cosignatures"
FK_LOG_COSIGNATURES_CHECKPOINT = "fk_log_cosignatures_checkpoint"

PK_TOKENS = "pk_tokens"
UQ_TOKENS_HASH = "uq_tokens_hash"

CK_TOKENS_DEBIT_LIMIT = "ck_tokens_debit_limit"
PK_TOKEN_USES = "pk_token_uses"  # noqa: S105 - no password, as those below
FK_TOKEN_USES_TOKEN = "fk_token_uses_token"  # noqa: S105
CK_TOKEN_USES_REQUESTS = "ck_token_uses_requests"  # noqa: S105

PK_VERIFICATIONS = "pk_verifications"
