-- From version 1 to version 2. What was counted was told, by the rules of
-- version 1; what was held since phones.held_since was not summed up yet.

ALTER TABLE events ADD COLUMN decided BIGINT;
ALTER TABLE events ADD COLUMN signature BIGINT;
CREATE UNIQUE INDEX events_signature ON events (signature) WHERE signature <> 0;
ALTER TABLE counts ADD COLUMN alerted BIGINT DEFAULT 0;
UPDATE counts SET alerted = n;
DROP INDEX counts_period;
CREATE INDEX counts_told ON counts (period, start, alerted);
CREATE TABLE waiting (
	event    TEXT   PRIMARY KEY,
	delivery TEXT   NOT NULL,
	since    BIGINT NOT NULL
);
CREATE TABLE sids (
	sid TEXT   PRIMARY KEY,
	sms TEXT   NOT NULL,
	at  BIGINT NOT NULL
);
CREATE INDEX sids_at ON sids (at);
INSERT INTO sids (sid, sms, at) SELECT sid, id, created FROM sms WHERE sid IS NOT NULL;
CREATE TABLE failures (
	id   TEXT   PRIMARY KEY,
	at   BIGINT NOT NULL,
	code TEXT   NOT NULL,
	told BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX failures_at ON failures (at);
INSERT INTO failures (id, at, code, told) SELECT sid, sent_at, error, 1 FROM sms WHERE sid IS NOT NULL AND status = 'undelivered' AND error <> '';
DROP INDEX sms_held;
ALTER TABLE sms DROP COLUMN resource;
ALTER TABLE sms ADD COLUMN summary TEXT NOT NULL DEFAULT '';
ALTER TABLE sms ADD COLUMN other TEXT NOT NULL DEFAULT '';
ALTER TABLE sms ADD COLUMN body_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sms ADD COLUMN happened BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sms ADD COLUMN blocked BIGINT NOT NULL DEFAULT 0;
UPDATE sms SET happened = COALESCE((SELECT CASE kind WHEN 'alarm' THEN received ELSE happened END FROM events WHERE events.id = sms.event), created);
INSERT INTO sms (id, event, code, recipient, body, status, created, happened, next_at)
	SELECT 'held ' || recipient, '', '', recipient, '', 'held', held_since, held_since, 0 FROM phones WHERE held > 0;
UPDATE sms SET summary = 'held ' || recipient WHERE status = 'held' AND event <> ''
	AND EXISTS (SELECT 1 FROM phones WHERE phones.recipient = sms.recipient AND phones.held > 0 AND sms.created >= phones.held_since);
DROP TABLE phones;
CREATE INDEX sms_sending ON sms (attempt_at) WHERE status = 'sending';
CREATE INDEX sms_summary ON sms (recipient) WHERE status = 'held' AND event = '';
CREATE INDEX sms_held ON sms (summary, code) WHERE status = 'held';
CREATE INDEX sms_code ON sms (code, created);
CREATE INDEX sms_status ON sms (status, created, recipient) WHERE status IN ('sent', 'delivered', 'undelivered', 'failed', 'held');
CREATE TABLE silences (
	code  TEXT   PRIMARY KEY,
	until BIGINT NOT NULL
);
