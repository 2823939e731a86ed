-- The outbox, version 1. SQLite and Postgres read the same text, but for what
-- stands between /* and */, which SQLite reads as well: it keeps such a table by
-- its key, which saves a twentieth of the cost of a webhook.
-- Times are milliseconds since 1970 in UTC; 0 means never. No column is ever
-- NULL but sms.sid; events does not say so, because SQLite would keep a journal
-- of each statement to undo it by, a tenth of the cost of a webhook.

CREATE TABLE events (
	id          TEXT   PRIMARY KEY, -- NO… SID, an alarm's firing, or made up for what is always news
	received    BIGINT,
	happened    BIGINT,
	kind        TEXT  ,
	account     TEXT  ,
	code        TEXT  ,
	level       TEXT  ,
	description TEXT  ,
	resource    TEXT  ,    -- SID of what the error is about
	decision    TEXT       -- what became of it, in words
);
CREATE INDEX events_received ON events (received);

CREATE TABLE counts (
	account TEXT  ,
	code    TEXT  , -- or "any"
	period  TEXT  ,
	start   BIGINT,
	n       BIGINT,
	PRIMARY KEY (account, code, period, start)
) /*WITHOUT ROWID*/;
CREATE INDEX counts_period ON counts (period, start);

CREATE TABLE sms (
	id          TEXT   PRIMARY KEY,
	event       TEXT   NOT NULL, -- empty for a summary of held alerts
	code        TEXT   NOT NULL,
	resource    TEXT   NOT NULL, -- SID of the message the error is about, or empty
	recipient   TEXT   NOT NULL,
	body        TEXT   NOT NULL,
	status      TEXT   NOT NULL, -- pending sending sent delivered undelivered failed held
	created     BIGINT NOT NULL,
	next_at     BIGINT NOT NULL, -- pending: when to send; sending: end of the lease
	attempts    BIGINT NOT NULL DEFAULT 0,
	attempt_at  BIGINT NOT NULL DEFAULT 0, -- when the last attempt began
	doubt_since BIGINT NOT NULL DEFAULT 0, -- when the first attempt of unknown outcome began
	sent_at     BIGINT NOT NULL DEFAULT 0, -- when Twilio accepted it
	sid         TEXT   UNIQUE,
	error       TEXT   NOT NULL DEFAULT '' -- Twilio's code, or what went wrong
);
CREATE INDEX sms_waiting ON sms (next_at) WHERE status IN ('pending', 'sending');
CREATE INDEX sms_sent ON sms (sent_at) WHERE sent_at > 0;
CREATE INDEX sms_held ON sms (recipient, created, code) WHERE status = 'held';
CREATE INDEX sms_created ON sms (created);

-- A phone's row is what replicas lock to share the limit of SMS an hour.
CREATE TABLE phones (
	recipient  TEXT   PRIMARY KEY,
	held       BIGINT NOT NULL, -- alerts held back and not yet told
	held_since BIGINT NOT NULL
);

-- Leases and marks of what must run only once over all replicas.
CREATE TABLE marks (
	name   TEXT   PRIMARY KEY,
	at     BIGINT NOT NULL,
	holder TEXT   NOT NULL,
	until  BIGINT NOT NULL
);
