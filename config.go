package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/catchup"
	"twilio-error-sms/internal/sms"
)

// Config is the program's settings, from the environment. README.md and
// .env.example say what each means to the user.
type Config struct {
	// Account is how to reach Twilio: TWILIO_ACCOUNT_SID with TWILIO_AUTH_TOKEN
	// or TWILIO_API_KEY and TWILIO_API_SECRET, TWILIO_REGION, TWILIO_EDGE,
	// TWILIO_BASE_URL. Empty in a dry run.
	Account sms.Account
	// From is ALERT_FROM: +E.164, MG… or a channel address.
	From string
	// To is ALERT_TO, each recipient once.
	To []string
	// PublicURL is PUBLIC_URL without a slash at its end, or empty.
	PublicURL string
	// Tokens sign webhooks: TWILIO_AUTH_TOKEN and WEBHOOK_AUTH_TOKENS.
	Tokens []string
	// Unsigned lets anybody post: DRY_RUN or ALLOW_UNSIGNED without PUBLIC_URL.
	Unsigned bool
	// DryRun is DRY_RUN: SMS are printed, not sent.
	DryRun bool
	// Addr is the public listener: ADDR, its port from PORT where that is set.
	Addr string
	// AdminAddr is the operator's listener, ADMIN_ADDR, or empty.
	AdminAddr string
	// AdminPassword is asked for by the operator's listener, or empty.
	AdminPassword string
	// DatabaseURL is where the outbox is: sqlite:FILE or postgres://….
	DatabaseURL string
	// Triggers are TRIGGERS and LEVELS.
	Triggers alert.Triggers
	// Text is ALERT_TEXT.
	Text alert.Text
	// PerHour is SMS_PER_HOUR, at least 1.
	PerHour int
	// GiveUpAfter and KeepFor are GIVE_UP_AFTER and KEEP_FOR.
	GiveUpAfter, KeepFor time.Duration
	// PollEvery is POLL_EVERY, the pace of the catch-up reader, 0 for none.
	PollEvery time.Duration
	// LogLevel is LOG_LEVEL.
	LogLevel slog.Level
}

// redeliveries is for how long Event Streams may deliver the same event again,
// and an hour for the limit of SMS.
const redeliveries = 5 * time.Hour

// dryRunRecipient stands for a phone in a dry run without ALERT_TO. It is one
// of the numbers that Twilio keeps for tests.
const dryRunRecipient = "+15005550006"

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-f]{32}$`)
	secret     = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	number     = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	channel    = regexp.MustCompile(`^[a-z]+:[^\s,]+$`)
	// sender is a number, a short code, a messaging service, a channel address
	// or a name of up to 11 characters.
	sender = regexp.MustCompile(`^(\+[1-9][0-9]{6,14}|[0-9]{5,6}|MG[0-9a-f]{32}|[a-z]+:[^\s,]+|[0-9 ]{0,10}[A-Za-z][A-Za-z0-9 ]{0,10})$`)
)

// environment returns a lookup of settings: the process's environment, and
// what it lacks from the file, which need not exist.
func environment(file string) (func(string) string, error) {
	values, err := godotenv.Read(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return func(name string) string {
		if value, ok := os.LookupEnv(name); ok {
			return value
		}
		return values[name]
	}, nil
}

// settings reads settings and collects what is wrong with them.
type settings struct {
	getenv   func(string) string
	problems []error
}

func (s *settings) text(name, fallback string) string {
	return cmp.Or(strings.TrimSpace(s.getenv(name)), fallback)
}

// wrong notes that a setting cannot be used, and what to write instead.
func (s *settings) wrong(name, format string, args ...any) {
	s.problems = append(s.problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

// matching returns the setting if it matches pattern or is empty. The value
// is not repeated: it may be a secret in the wrong place.
func (s *settings) matching(name string, pattern *regexp.Regexp, want string) string {
	value := s.text(name, "")
	if value != "" && !pattern.MatchString(value) {
		s.wrong(name, "expected %s", want)
	}
	return value
}

func (s *settings) bool(name string) bool {
	value, err := strconv.ParseBool(s.text(name, "false"))
	if err != nil {
		s.wrong(name, "expected true or false, got %q", s.text(name, ""))
	}
	return value
}

// duration reads a duration of at least the shortest; fallback "" is none.
func (s *settings) duration(name, fallback string, shortest time.Duration) time.Duration {
	value := s.text(name, fallback)
	if value == "" || value == "off" && fallback == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < shortest {
		s.wrong(name, "expected a duration of at least %s such as 5m or 24h, got %q", shortest, value)
	}
	return d
}

func (s *settings) list(name string) []string {
	var all []string
	for item := range strings.SplitSeq(s.getenv(name), ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(all, item) {
			all = append(all, item)
		}
	}
	return all
}

// LoadConfig reads the settings and reports all that is wrong with them in one
// error.
func LoadConfig(getenv func(string) string) (Config, error) {
	s := &settings{getenv: getenv}
	c := Config{
		DryRun:        s.bool("DRY_RUN"),
		Unsigned:      s.bool("ALLOW_UNSIGNED"),
		PublicURL:     s.publicURL(),
		AdminAddr:     s.text("ADMIN_ADDR", ""),
		AdminPassword: getenv("ADMIN_PASSWORD"),
		DatabaseURL:   s.text("DATABASE_URL", "sqlite:alerts.db"),
		GiveUpAfter:   s.duration("GIVE_UP_AFTER", "24h", time.Minute),
		KeepFor:       s.duration("KEEP_FOR", "720h", time.Hour),
		PollEvery:     s.duration("POLL_EVERY", "", 10*time.Second),
	}
	if c.KeepFor < c.GiveUpAfter+redeliveries {
		s.wrong("KEEP_FOR", "must be at least GIVE_UP_AFTER and %s, or what is still on its way is forgotten", redeliveries)
	}
	s.account(&c)
	s.pace(&c)
	s.phones(&c)
	s.trust(&c)
	s.addresses(&c)
	s.alerts(&c)
	if err := c.LogLevel.UnmarshalText([]byte(s.text("LOG_LEVEL", "info"))); err != nil {
		s.wrong("LOG_LEVEL", "expected debug, info, warn or error, got %q", s.text("LOG_LEVEL", ""))
	}
	return c, errors.Join(s.problems...)
}

// account reads how to reach Twilio. A dry run needs nothing of it.
func (s *settings) account(c *Config) {
	c.Account = sms.Account{
		SID:     s.matching("TWILIO_ACCOUNT_SID", accountSID, "AC and 32 digits or letters a to f, from the Console's first page"),
		Region:  s.text("TWILIO_REGION", ""),
		Edge:    s.text("TWILIO_EDGE", ""),
		BaseURL: s.url("TWILIO_BASE_URL"),
	}
	token := s.matching("TWILIO_AUTH_TOKEN", secret, "letters and digits only")
	if token != "" {
		c.Tokens = append(c.Tokens, token)
	}
	key := s.matching("TWILIO_API_KEY", secret, "letters and digits only (SK…)")
	keySecret := s.matching("TWILIO_API_SECRET", secret, "letters and digits only")
	if (key == "") != (keySecret == "") {
		s.wrong("TWILIO_API_KEY", "set TWILIO_API_KEY and TWILIO_API_SECRET together, or neither")
	}
	c.Account.User, c.Account.Password = cmp.Or(key, c.Account.SID), cmp.Or(keySecret, token)
	if c.DryRun {
		return
	}
	if c.Account.SID == "" {
		s.wrong("TWILIO_ACCOUNT_SID", "missing; to try the server without an account, set DRY_RUN=true")
	}
	if c.Account.Password == "" {
		s.wrong("TWILIO_AUTH_TOKEN", "missing; set it, or TWILIO_API_KEY and TWILIO_API_SECRET")
	}
}

// pace checks that the catch-up reader can read, and counts each error once.
func (s *settings) pace(c *Config) {
	if c.PollEvery == 0 {
		return
	}
	if c.DryRun && (c.Account.SID == "" || c.Account.Password == "") {
		s.wrong("POLL_EVERY", "reads your Twilio account's log, also in a dry run: set TWILIO_ACCOUNT_SID, and TWILIO_AUTH_TOKEN or TWILIO_API_KEY and TWILIO_API_SECRET")
	}
	if c.PollEvery >= c.GiveUpAfter {
		s.wrong("POLL_EVERY", "must be shorter than GIVE_UP_AFTER (%s), or errors are too old to alert when they are read", c.GiveUpAfter)
	}
	if c.PollEvery+catchup.Overlap >= c.KeepFor {
		s.wrong("KEEP_FOR", "must be longer than POLL_EVERY and %s, or errors are forgotten before they are read again", catchup.Overlap)
	}
}

// phones reads who sends and who gets the alerts.
func (s *settings) phones(c *Config) {
	c.From = s.matching("ALERT_FROM", sender, "a number such as +15551234567, a messaging service MG…, or a channel address such as whatsapp:+15551234567")
	c.To = s.list("ALERT_TO")
	channelOf := func(address string) string {
		name, _, found := strings.Cut(address, ":")
		if !found {
			return "SMS"
		}
		return name
	}
	for i, to := range c.To {
		if !number.MatchString(to) && !channel.MatchString(to) {
			s.wrong("ALERT_TO", "recipient %d is no number such as +15551234567", i+1)
		} else if c.From != "" && !strings.HasPrefix(c.From, "MG") && channelOf(to) != channelOf(c.From) {
			s.wrong("ALERT_TO", "recipient %d is reached by %s, but ALERT_FROM sends by %s", i+1, channelOf(to), channelOf(c.From))
		}
	}
	switch {
	case c.DryRun && len(c.To) == 0:
		c.To = []string{dryRunRecipient}
	case c.DryRun:
	case len(c.To) == 0:
		s.wrong("ALERT_TO", "missing; set the numbers to alert, separated by commas")
	}
	if !c.DryRun && c.From == "" {
		s.wrong("ALERT_FROM", "missing; set one of your Twilio numbers, such as +15551234567")
	}
}

// trust reads whose requests to believe.
func (s *settings) trust(c *Config) {
	for _, token := range s.list("WEBHOOK_AUTH_TOKENS") {
		if !secret.MatchString(token) {
			s.wrong("WEBHOOK_AUTH_TOKENS", "expected auth tokens of letters and digits, separated by commas")
		}
		c.Tokens = append(c.Tokens, token)
	}
	switch {
	case c.PublicURL != "":
		c.Unsigned = false
		if len(c.Tokens) == 0 {
			s.wrong("PUBLIC_URL", "needs TWILIO_AUTH_TOKEN or WEBHOOK_AUTH_TOKENS to check Twilio's signatures (API keys do not sign)")
		}
	case c.DryRun:
		c.Unsigned = true
	case !c.Unsigned && c.PollEvery == 0:
		s.wrong("PUBLIC_URL", "missing; set the address at which Twilio reaches this server, such as https://alerts.example.com, so that signatures can be checked. Or set POLL_EVERY=5m to read Twilio's log instead. Or, only where no stranger can reach the port, ALLOW_UNSIGNED=true")
	}
}

// addresses reads where to listen.
func (s *settings) addresses(c *Config) {
	c.Addr = s.text("ADDR", "127.0.0.1:8080")
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		s.wrong("ADDR", "expected host:port such as 127.0.0.1:8080 or :8080, got %q", c.Addr)
	}
	port = s.text("PORT", port)
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		s.wrong("PORT", "expected a port of up to 65535, got %q", port)
	}
	c.Addr = net.JoinHostPort(host, port)
	if c.AdminAddr == "" {
		return
	}
	host, _, err = net.SplitHostPort(c.AdminAddr)
	if err != nil {
		s.wrong("ADMIN_ADDR", "expected host:port such as 127.0.0.1:9090, got %q", c.AdminAddr)
		return
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && c.AdminPassword == "" {
		s.wrong("ADMIN_PASSWORD", "missing; ADMIN_ADDR is not on loopback, so the page must ask for a password")
	}
}

// alerts reads what alerts and how it reads.
func (s *settings) alerts(c *Config) {
	var err error
	if c.Triggers, err = alert.ParseTriggers(s.text("TRIGGERS", alert.DefaultTriggers)); err != nil {
		s.wrong("TRIGGERS", "%v", err)
	}
	for _, level := range strings.Split(s.text("LEVELS", "error"), ",") {
		switch alert.Level(strings.ToLower(strings.TrimSpace(level))) {
		case alert.Error:
		case alert.Warning:
			c.Triggers.Warnings = true
		default:
			s.wrong("LEVELS", "expected error, or error,warning, got %q", level)
		}
	}
	if c.Text, err = alert.ParseText(s.text("ALERT_TEXT", "")); err != nil {
		s.wrong("ALERT_TEXT", "%v", err)
	}
	if c.PerHour, err = strconv.Atoi(s.text("SMS_PER_HOUR", "20")); err != nil || c.PerHour < 1 {
		s.wrong("SMS_PER_HOUR", "expected a number of at least 1, got %q", s.text("SMS_PER_HOUR", ""))
	}
}

// url reads the address of a server, nil if it is not set.
func (s *settings) url(name string) *url.URL {
	value := s.text(name, "")
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		s.wrong(name, "expected an address such as https://alerts.example.com, without user, query or #")
		return nil
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u
}

func (s *settings) publicURL() string {
	u := s.url("PUBLIC_URL")
	if u == nil {
		return ""
	}
	if strings.Trim(u.Path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") != "" {
		s.wrong("PUBLIC_URL", "expected a path of letters, digits and -._~ only, got %q", u.Path)
		return ""
	}
	return u.String()
}

// LogValue lists the settings that may be shown: nothing secret, no number.
func (c Config) LogValue() slog.Value {
	database, _, _ := strings.Cut(c.DatabaseURL, ":")
	return slog.GroupValue(
		slog.String("account", c.Account.SID),
		slog.Int("recipients", len(c.To)),
		slog.String("public_url", c.PublicURL),
		slog.Int("webhook_tokens", len(c.Tokens)),
		slog.Bool("unsigned", c.Unsigned),
		slog.Bool("dry_run", c.DryRun),
		slog.String("database", database),
		slog.Int("sms_per_hour", c.PerHour),
		slog.Duration("poll_every", c.PollEvery),
	)
}
