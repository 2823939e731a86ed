-- The outbox, version 2, for SQLite and Postgres. Only SQLite reads the text
-- between /* and */: it then keeps a table by its key, which saves a twentieth of
-- the cost of a webhook.
-- Times are milliseconds since 1970 in UTC; 0 means never. Only sms.sid and
-- events.decided are ever NULL. Events and counts do not say NOT NULL, because
-- SQLite would then keep a journal of each statement, which costs a tenth of a
-- webhook.

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
	decision    TEXT  ,    -- what became of it, in words
	decided     BIGINT,    -- when, if that was not when it was received
	signature   BIGINT     -- of the form that brought it, its first 8 bytes; 0 without one
);
CREATE INDEX events_received ON events (received);
-- How a form falls into fields is not signed, so its signature is known again
-- whatever is read of it.
CREATE UNIQUE INDEX events_signature ON events (signature) WHERE signature <> 0;

-- Events that are not decided yet: they may be about an SMS of ours.
CREATE TABLE waiting (
	event    TEXT   PRIMARY KEY,
	delivery TEXT   NOT NULL, -- the events of one request have the same
	since    BIGINT NOT NULL
);

CREATE TABLE counts (
	account TEXT  ,
	code    TEXT  , -- or "any"
	period  TEXT  ,
	start   BIGINT,
	n       BIGINT,
	alerted BIGINT DEFAULT 0, -- up to which count its alerts have been told
	PRIMARY KEY (account, code, period, start)
) /*WITHOUT ROWID*/;
CREATE INDEX counts_told ON counts (period, start, alerted);

CREATE TABLE sms (
	id          TEXT   PRIMARY KEY,
	event       TEXT   NOT NULL, -- empty for a summary of held alerts
	summary     TEXT   NOT NULL DEFAULT '', -- held: the SMS that sums it up
	code        TEXT   NOT NULL,
	recipient   TEXT   NOT NULL,
	body        TEXT   NOT NULL,
	other       TEXT   NOT NULL DEFAULT '', -- the wording for later, or the one from before
	body_until  BIGINT NOT NULL DEFAULT 0, -- when the wording for later takes the place of body
	status      TEXT   NOT NULL, -- pending sending sent delivered undelivered failed held
	created     BIGINT NOT NULL,
	happened    BIGINT NOT NULL DEFAULT 0, -- the event
	next_at     BIGINT NOT NULL, -- pending: when to send; sending: end of the lease
	attempts    BIGINT NOT NULL DEFAULT 0,
	attempt_at  BIGINT NOT NULL DEFAULT 0, -- when the last attempt began
	doubt_since BIGINT NOT NULL DEFAULT 0, -- when the first attempt of unknown outcome began
	blocked     BIGINT NOT NULL DEFAULT 0, -- 1: Twilio refuses until the operator helps
	sent_at     BIGINT NOT NULL DEFAULT 0, -- when Twilio accepted it
	sid         TEXT   UNIQUE,
	error       TEXT   NOT NULL DEFAULT '' -- Twilio's code, or what went wrong
);
CREATE INDEX sms_waiting ON sms (next_at) WHERE status IN ('pending', 'sending');
CREATE INDEX sms_sending ON sms (attempt_at) WHERE status = 'sending';
CREATE INDEX sms_sent ON sms (sent_at) WHERE sent_at > 0;
CREATE INDEX sms_summary ON sms (recipient) WHERE status = 'held' AND event = '';
CREATE INDEX sms_held ON sms (summary, code) WHERE status = 'held';
CREATE INDEX sms_created ON sms (created);
CREATE INDEX sms_code ON sms (code, created);
CREATE INDEX sms_status ON sms (status, created, recipient) WHERE status IN ('sent', 'delivered', 'undelivered', 'failed', 'held');

-- Every SID that Twilio ever told for an SMS of ours: copies have several.
CREATE TABLE sids (
	sid TEXT   PRIMARY KEY,
	sms TEXT   NOT NULL,
	at  BIGINT NOT NULL
);
CREATE INDEX sids_at ON sids (at);

-- Errors that Twilio logged about SMS of ours, which an Alarm may count.
CREATE TABLE failures (
	id   TEXT   PRIMARY KEY, -- the SID, or the SMS and its attempt where it has none
	at   BIGINT NOT NULL,
	code TEXT   NOT NULL,
	told BIGINT NOT NULL DEFAULT 0 -- 1: Twilio's event about it came, or will name the SID
);
CREATE INDEX failures_at ON failures (at);

-- Leases and marks of tasks that one replica does at a time.
CREATE TABLE marks (
	name   TEXT   PRIMARY KEY,
	at     BIGINT NOT NULL,
	holder TEXT   NOT NULL,
	until  BIGINT NOT NULL
);

-- Codes whose events make no phone ring until a time; "all" stands for all.
CREATE TABLE silences (
	code  TEXT   PRIMARY KEY,
	until BIGINT NOT NULL
);
