// Package config reads the settings and checks them, all mistakes at once.
// README.md and .env.example say what each setting means to the user.
package config

import (
	"cmp"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/signature"
	"twilio-error-sms/internal/sms"
)

// Config is the settings of a server.
type Config struct {
	// Account is how to reach Twilio: TWILIO_ACCOUNT_SID with TWILIO_AUTH_TOKEN
	// or TWILIO_API_KEY and TWILIO_API_SECRET, TWILIO_REGION, TWILIO_EDGE,
	// TWILIO_BASE_URL. It may be empty in a dry run.
	Account sms.Account
	// AuthToken is TWILIO_AUTH_TOKEN, or empty: an API key can send without it.
	AuthToken string
	// From is ALERT_FROM: a number (E.164) or short code, a messaging service
	// MG…, a channel address or a name. It may be empty in a dry run.
	From string
	// PublicURL is PUBLIC_URL without a slash at its end, or empty.
	PublicURL string
	// WebhookTokens sign webhooks besides AuthToken: WEBHOOK_AUTH_TOKENS.
	WebhookTokens []signature.Token
	// Unsigned lets anybody post: ALLOW_UNSIGNED or DRY_RUN without PUBLIC_URL.
	Unsigned bool
	// DryRun is DRY_RUN: SMS are printed, not sent.
	DryRun bool
	// Addr is the public listener: ADDR, with PORT as its port where it is set.
	Addr string
	// AdminAddr is the operator's listener, ADMIN_ADDR, or empty.
	AdminAddr string
	// AdminPassword is ADMIN_PASSWORD, which the operator's listener asks for, or
	// empty.
	AdminPassword string
	// DatabaseURL is DATABASE_URL: sqlite:FILE or postgres://….
	DatabaseURL string
	// Outbox is TRIGGERS with LEVELS, ALERT_TEXT, ALERT_TO (each recipient once),
	// SMS_PER_HOUR, GIVE_UP_AFTER and KEEP_FOR. Logger and Observer are not
	// settings, and nil.
	Outbox outbox.Options
	// PollEvery is POLL_EVERY, the pace of the catch-up reader, 0 for none.
	PollEvery time.Duration
	// LogLevel is LOG_LEVEL.
	LogLevel slog.Level
	// Warnings say of settings that are probably not what was meant, what to write
	// instead. They hold no secret.
	Warnings []string
}

// StatusCallback is the address at which Twilio tells what becomes of an SMS. It
// is empty without PUBLIC_URL, or without the token that Twilio signs it with.
func (c Config) StatusCallback() string {
	if c.PublicURL == "" || c.AuthToken == "" {
		return ""
	}
	return c.PublicURL + "/message_status"
}

// redeliveries is how long Event Streams may deliver the same event again (4 h),
// and an hour for the limit of SMS.
const redeliveries = 5 * time.Hour

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-f]{32}$`)
	secret     = regexp.MustCompile(`^[A-Za-z0-9]+$`)        // twilio-go refuses others
	place      = regexp.MustCompile(`^(?i)[a-z0-9-]{1,30}$`) // becomes part of a host
)

// Load reads the settings. Its error holds all that is wrong with them, a line
// for each.
func Load(getenv func(string) string) (Config, error) {
	r := newReader(getenv)
	c := Config{
		DryRun:        r.bool("DRY_RUN"),
		Unsigned:      r.bool("ALLOW_UNSIGNED"),
		AdminAddr:     r.text("ADMIN_ADDR", ""),
		AdminPassword: r.text("ADMIN_PASSWORD", ""),
		DatabaseURL:   r.databaseURL(),
		Outbox: outbox.Options{
			GiveUpAfter: r.duration("GIVE_UP_AFTER", "24h", time.Minute),
			KeepFor:     r.duration("KEEP_FOR", "720h", 24*time.Hour),
		},
		PollEvery: r.duration("POLL_EVERY", "", 10*time.Second),
	}
	if c.Outbox.KeepFor < c.Outbox.GiveUpAfter+redeliveries {
		r.wrong("KEEP_FOR", "must be at least GIVE_UP_AFTER plus %s, or what is still on its way is forgotten; write %s or more", short(redeliveries), short(c.Outbox.GiveUpAfter+redeliveries))
	}
	c.PublicURL = r.publicURL()
	if strings.EqualFold(c.AdminAddr, "off") {
		c.AdminAddr = ""
	}
	c.Addr = r.addr()
	r.account(&c)
	r.pace(&c)
	r.phones(&c)
	r.trust(&c)
	r.admin(c)
	r.alerts(&c)
	if err := c.LogLevel.UnmarshalText([]byte(r.text("LOG_LEVEL", "info"))); err != nil {
		r.expected("LOG_LEVEL", "debug, info, warn or error", r.text("LOG_LEVEL", ""))
	}
	r.unknown()
	c.Warnings = r.warnings
	return c, errors.Join(r.problems...)
}

// account reads how to reach Twilio, which a dry run need not.
func (r *reader) account(c *Config) {
	c.Account = sms.Account{
		SID:     r.accountSID(),
		Region:  strings.ToLower(r.matching("TWILIO_REGION", place, "a region such as au1")),
		Edge:    strings.ToLower(r.matching("TWILIO_EDGE", place, "an edge such as sydney")),
		BaseURL: r.url("TWILIO_BASE_URL"),
	}
	if _, known := sms.EdgeOf(c.Account.Region); !known && c.Account.Edge == "" && place.MatchString(c.Account.Region) {
		r.wrong("TWILIO_EDGE", "missing; set the edge of region %q, such as sydney for au1: https://www.twilio.com/docs/global-infrastructure/understanding-edge-locations", c.Account.Region)
	}
	c.Outbox.Account = c.Account.SID
	c.AuthToken = r.authToken()
	key := r.matching("TWILIO_API_KEY", secret, "the key's SID of letters and digits only, SK…; copy it again")
	keySecret := r.matching("TWILIO_API_SECRET", secret, "letters and digits only; copy it again, or make a new API key")
	if (key == "") != (keySecret == "") {
		r.wrong("TWILIO_API_KEY", "set TWILIO_API_KEY and TWILIO_API_SECRET together, or neither")
	}
	c.Account.User, c.Account.Password = cmp.Or(key, c.Account.SID), cmp.Or(keySecret, c.AuthToken)
	if c.DryRun {
		return
	}
	if c.Account.SID == "" {
		r.wrong("TWILIO_ACCOUNT_SID", "missing; to try the server without an account, set DRY_RUN=true")
	}
	if c.Account.Password == "" {
		r.wrong("TWILIO_AUTH_TOKEN", "missing; set it, or TWILIO_API_KEY and TWILIO_API_SECRET")
	}
}

// accountSID reads TWILIO_ACCOUNT_SID.
func (r *reader) accountSID() string {
	sid := r.text("TWILIO_ACCOUNT_SID", "")
	switch lower := strings.Replace(strings.ToLower(sid), "ac", "AC", 1); {
	case sid == "" || accountSID.MatchString(sid):
	case strings.HasPrefix(sid, "SK"):
		r.wrong("TWILIO_ACCOUNT_SID", "SK… is an API key: write it to TWILIO_API_KEY, and here the account's SID, AC…, from the Console's first page")
	case accountSID.MatchString(lower):
		r.wrong("TWILIO_ACCOUNT_SID", "only AC is in capitals: write %s", lower)
	default:
		r.wrong("TWILIO_ACCOUNT_SID", "expected AC and 32 digits or small letters a to f, from the Console's first page")
	}
	return sid
}

// pace checks that the catch-up reader can read, and that each error counts once.
func (r *reader) pace(c *Config) {
	if c.PollEvery == 0 {
		return
	}
	if c.DryRun && (c.Account.SID == "" || c.Account.Password == "") {
		r.wrong("POLL_EVERY", "reads your Twilio account's log, also in a dry run: set TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY and TWILIO_API_SECRET")
	}
	if c.PollEvery >= c.Outbox.GiveUpAfter {
		r.wrong("POLL_EVERY", "must be shorter than GIVE_UP_AFTER (%s), or errors are too old to alert when they are read", short(c.Outbox.GiveUpAfter))
	}
	if c.PollEvery+catchup.Overlap >= c.Outbox.KeepFor {
		r.wrong("KEEP_FOR", "must be longer than POLL_EVERY and %s, or errors are forgotten before they are read again", short(catchup.Overlap))
	}
}

// trust reads whose requests to believe.
func (r *reader) trust(c *Config) {
	for i, entry := range r.list("WEBHOOK_AUTH_TOKENS") {
		account, token, bound := strings.Cut(entry, ":")
		if !bound {
			account, token = "", entry
		}
		if !secret.MatchString(token) || bound && !accountSID.MatchString(account) {
			r.wrong("WEBHOOK_AUTH_TOKENS", "entry %d is not an auth token of letters and digits, or such a token after the SID of its account: AC…:token", i+1)
		}
		c.WebhookTokens = append(c.WebhookTokens, signature.Token{Account: account, Token: token})
	}
	if c.Unsigned && c.PublicURL == "" && !onLoopback(c.Addr) {
		r.warn("ALLOW_UNSIGNED", "anyone who reaches %s can post errors; set PUBLIC_URL, or ADDR=127.0.0.1:8080", c.Addr)
	}
	switch {
	case c.PublicURL != "":
		if c.Unsigned {
			r.warn("ALLOW_UNSIGNED", "has no effect beside PUBLIC_URL: every webhook must be signed")
		}
		if c.AuthToken == "" {
			r.warn("TWILIO_AUTH_TOKEN", "missing; Twilio signs its delivery reports with it, so whether SMS arrive stays unknown")
		}
		c.Unsigned = false
		if c.AuthToken == "" && len(c.WebhookTokens) == 0 {
			r.wrong("PUBLIC_URL", "needs TWILIO_AUTH_TOKEN or WEBHOOK_AUTH_TOKENS to check Twilio's signatures (API keys do not sign)")
		}
	case c.DryRun:
		c.Unsigned = true
	case !c.Unsigned && c.PollEvery == 0 && r.text("PUBLIC_URL", "") == "":
		r.wrong("PUBLIC_URL", "missing; set the address at which Twilio reaches this server, such as https://alerts.example.com, so that signatures can be checked. Or set POLL_EVERY=5m to read Twilio's log instead. Or, only where no stranger can reach the port, ALLOW_UNSIGNED=true")
	}
}

// alerts reads which events alert, in which words and how often.
func (r *reader) alerts(c *Config) {
	var err error
	if c.Outbox.Triggers, err = alert.ParseTriggers(r.text("TRIGGERS", alert.DefaultTriggers)); err != nil {
		for mistake := range strings.Lines(err.Error()) {
			r.wrong("TRIGGERS", "%s", strings.TrimSpace(mistake))
		}
	} else if !c.Outbox.Triggers.CoverAllCodes() {
		r.warn("TRIGGERS", "codes that it does not name never alert; for these too, write %s; before it", alert.DefaultTriggers)
	}
	for _, level := range r.list("LEVELS") {
		switch alert.Level(strings.ToLower(level)) {
		case alert.Error:
		case alert.Warning:
			c.Outbox.Triggers.Warnings = true
		default:
			r.expected("LEVELS", "error, or error,warning", level)
		}
	}
	if c.Outbox.Text, err = alert.ParseText(r.text("ALERT_TEXT", "")); err != nil {
		r.wrong("ALERT_TEXT", "%v", err)
	} else if text := r.text("ALERT_TEXT", ""); text != "" && !strings.Contains(text, "{") {
		r.warn("ALERT_TEXT", "it says nothing of the error; a # after a blank begins a comment, unless quotes are around the text")
	}
	if c.Outbox.PerHour, err = strconv.Atoi(r.text("SMS_PER_HOUR", "20")); err != nil || c.Outbox.PerHour < 1 {
		r.expected("SMS_PER_HOUR", "a number of at least 1", r.text("SMS_PER_HOUR", ""))
	}
}

// LogValue lists the settings that may be shown: nothing secret, no phone number.
func (c Config) LogValue() slog.Value {
	database, _, _ := strings.Cut(c.DatabaseURL, ":")
	return slog.GroupValue(
		slog.String("account", c.Account.SID),
		slog.Int("recipients", len(c.Outbox.Recipients)),
		slog.String("public_url", c.PublicURL),
		slog.Int("webhook_tokens", len(c.WebhookTokens)),
		slog.Bool("unsigned", c.Unsigned),
		slog.Bool("dry_run", c.DryRun),
		slog.String("database", database),
		slog.Int("sms_per_hour", c.Outbox.PerHour),
		slog.Duration("poll_every", c.PollEvery),
	)
}
