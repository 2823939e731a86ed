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
	// Tokens sign webhooks: TWILIO_AUTH_TOKEN and WEBHOOK_AUTH_TOKENS.
	Tokens []string
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
}

// redeliveries is how long Event Streams may deliver the same event again (4 h),
// and an hour for the limit of SMS.
const redeliveries = 5 * time.Hour

// dryRunRecipient stands for a phone in a dry run without ALERT_TO. It is one
// of the numbers that Twilio keeps for tests.
const dryRunRecipient = "+15005550006"

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-f]{32}$`)
	secret     = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	phone      = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	channel    = regexp.MustCompile(`^[a-z]+:[^\s,]+$`)
	// sender is a number, a short code, a messaging service, a channel address
	// or a name of up to 11 characters.
	sender = regexp.MustCompile(`^(\+[1-9][0-9]{6,14}|[0-9]{5,6}|MG[0-9a-f]{32}|[a-z]+:[^\s,]+|[0-9 ]{0,10}[A-Za-z][A-Za-z0-9 ]{0,10})$`)
)

// Load reads the settings. Its error holds all that is wrong with them, a line
// for each.
func Load(getenv func(string) string) (Config, error) {
	r := &reader{getenv: getenv}
	c := Config{
		DryRun:        r.bool("DRY_RUN"),
		Unsigned:      r.bool("ALLOW_UNSIGNED"),
		PublicURL:     r.publicURL(),
		AdminAddr:     r.text("ADMIN_ADDR", ""),
		AdminPassword: getenv("ADMIN_PASSWORD"),
		DatabaseURL:   r.text("DATABASE_URL", "sqlite:alerts.db"),
		Outbox: outbox.Options{
			GiveUpAfter: r.duration("GIVE_UP_AFTER", "24h", time.Minute),
			KeepFor:     r.duration("KEEP_FOR", "720h", 24*time.Hour),
		},
		PollEvery: r.duration("POLL_EVERY", "", 10*time.Second),
	}
	if c.Outbox.KeepFor < c.Outbox.GiveUpAfter+redeliveries {
		r.wrong("KEEP_FOR", "must be at least GIVE_UP_AFTER and %s, or what is still on its way is forgotten", redeliveries)
	}
	r.account(&c)
	r.pace(&c)
	r.phones(&c)
	r.trust(&c)
	c.Addr = r.addr()
	r.admin(c)
	r.alerts(&c)
	if err := c.LogLevel.UnmarshalText([]byte(r.text("LOG_LEVEL", "info"))); err != nil {
		r.wrong("LOG_LEVEL", "expected debug, info, warn or error, got %q", r.text("LOG_LEVEL", ""))
	}
	return c, errors.Join(r.problems...)
}

// account reads how to reach Twilio, which a dry run need not.
func (r *reader) account(c *Config) {
	c.Account = sms.Account{
		SID:     r.matching("TWILIO_ACCOUNT_SID", accountSID, "AC and 32 digits or letters a to f, from the Console's first page"),
		Region:  r.text("TWILIO_REGION", ""),
		Edge:    r.text("TWILIO_EDGE", ""),
		BaseURL: r.url("TWILIO_BASE_URL"),
	}
	c.AuthToken = r.authToken()
	if c.AuthToken != "" {
		c.Tokens = append(c.Tokens, c.AuthToken)
	}
	key := r.matching("TWILIO_API_KEY", secret, "letters and digits only (SK…)")
	keySecret := r.matching("TWILIO_API_SECRET", secret, "letters and digits only")
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

// pace checks that the catch-up reader can read, and that each error counts once.
func (r *reader) pace(c *Config) {
	if c.PollEvery == 0 {
		return
	}
	if c.DryRun && (c.Account.SID == "" || c.Account.Password == "") {
		r.wrong("POLL_EVERY", "reads your Twilio account's log, also in a dry run: set TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY and TWILIO_API_SECRET")
	}
	if c.PollEvery >= c.Outbox.GiveUpAfter {
		r.wrong("POLL_EVERY", "must be shorter than GIVE_UP_AFTER (%s), or errors are too old to alert when they are read", c.Outbox.GiveUpAfter)
	}
	if c.PollEvery+catchup.Overlap >= c.Outbox.KeepFor {
		r.wrong("KEEP_FOR", "must be longer than POLL_EVERY and %s, or errors are forgotten before they are read again", catchup.Overlap)
	}
}

// phones reads who sends and who gets the alerts.
func (r *reader) phones(c *Config) {
	c.From = r.matching("ALERT_FROM", sender, "a number such as +15551234567, a messaging service MG…, or a channel address such as whatsapp:+15551234567")
	c.Outbox.Recipients = r.list("ALERT_TO")
	for i, to := range c.Outbox.Recipients {
		if !phone.MatchString(to) && !channel.MatchString(to) {
			r.wrong("ALERT_TO", "recipient %d is no number such as +15551234567", i+1)
		} else if c.From != "" && !strings.HasPrefix(c.From, "MG") && channelOf(to) != channelOf(c.From) {
			r.wrong("ALERT_TO", "recipient %d is reached by %s, but ALERT_FROM sends by %s", i+1, channelOf(to), channelOf(c.From))
		}
	}
	if c.DryRun {
		if len(c.Outbox.Recipients) == 0 {
			c.Outbox.Recipients = []string{dryRunRecipient}
		}
		return
	}
	if len(c.Outbox.Recipients) == 0 {
		r.wrong("ALERT_TO", "missing; set the numbers to alert, separated by commas")
	}
	if c.From == "" {
		r.wrong("ALERT_FROM", "missing; set one of your Twilio numbers, such as +15551234567")
	}
}

// channelOf returns how an address is reached.
func channelOf(address string) string {
	name, _, found := strings.Cut(address, ":")
	if !found {
		return "SMS"
	}
	return name
}

// trust reads whose requests to believe.
func (r *reader) trust(c *Config) {
	for _, token := range r.list("WEBHOOK_AUTH_TOKENS") {
		if !secret.MatchString(token) {
			r.wrong("WEBHOOK_AUTH_TOKENS", "expected auth tokens of letters and digits, separated by commas")
		}
		c.Tokens = append(c.Tokens, token)
	}
	switch {
	case c.PublicURL != "":
		c.Unsigned = false
		if len(c.Tokens) == 0 {
			r.wrong("PUBLIC_URL", "needs TWILIO_AUTH_TOKEN or WEBHOOK_AUTH_TOKENS to check Twilio's signatures (API keys do not sign)")
		}
	case c.DryRun:
		c.Unsigned = true
	case !c.Unsigned && c.PollEvery == 0:
		r.wrong("PUBLIC_URL", "missing; set the address at which Twilio reaches this server, such as https://alerts.example.com, so that signatures can be checked. Or set POLL_EVERY=5m to read Twilio's log instead. Or, only where no stranger can reach the port, ALLOW_UNSIGNED=true")
	}
}

// alerts reads which events alert, in which words and how often.
func (r *reader) alerts(c *Config) {
	var err error
	if c.Outbox.Triggers, err = alert.ParseTriggers(r.text("TRIGGERS", alert.DefaultTriggers)); err != nil {
		r.wrong("TRIGGERS", "%v", err)
	}
	for _, level := range strings.Split(r.text("LEVELS", "error"), ",") {
		switch alert.Level(strings.ToLower(strings.TrimSpace(level))) {
		case alert.Error:
		case alert.Warning:
			c.Outbox.Triggers.Warnings = true
		default:
			r.wrong("LEVELS", "expected error, or error,warning, got %q", level)
		}
	}
	if c.Outbox.Text, err = alert.ParseText(r.text("ALERT_TEXT", "")); err != nil {
		r.wrong("ALERT_TEXT", "%v", err)
	}
	if c.Outbox.PerHour, err = strconv.Atoi(r.text("SMS_PER_HOUR", "20")); err != nil || c.Outbox.PerHour < 1 {
		r.wrong("SMS_PER_HOUR", "expected a number of at least 1, got %q", r.text("SMS_PER_HOUR", ""))
	}
}

// LogValue lists the settings that may be shown: nothing secret, no phone number.
func (c Config) LogValue() slog.Value {
	database, _, _ := strings.Cut(c.DatabaseURL, ":")
	return slog.GroupValue(
		slog.String("account", c.Account.SID),
		slog.Int("recipients", len(c.Outbox.Recipients)),
		slog.String("public_url", c.PublicURL),
		slog.Int("webhook_tokens", len(c.Tokens)),
		slog.Bool("unsigned", c.Unsigned),
		slog.Bool("dry_run", c.DryRun),
		slog.String("database", database),
		slog.Int("sms_per_hour", c.Outbox.PerHour),
		slog.Duration("poll_every", c.PollEvery),
	)
}
