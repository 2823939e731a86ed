package command

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/config"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/sms"
)

// testText is the SMS of check -send.
const testText = "Test by twilio-error-sms: this phone gets alerts of Twilio errors. " + alert.IndexLink

// checker tries what the settings name.
type checker struct {
	settings config.Config
	twilio   *sms.Twilio
	box      *outbox.Outbox // nil if it cannot be opened
	out      io.Writer
	bad      int
}

// newChecker reads the settings, and writes a line for each that is wrong.
func newChecker(getenv func(string) string, stdout io.Writer) (*checker, error) {
	settings, err := config.Load(getenv)
	if err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stdout, "bad   %s\n", problem)
		}
		return nil, errors.New("the settings are wrong: fix them, then try again")
	}
	return &checker{settings: settings, twilio: sms.NewTwilio(settings.Account, settings.From, settings.StatusCallback()), out: stdout}, nil
}

// finish closes the outbox, and fails if a line was bad.
func (c *checker) finish(advice string) error {
	var err error
	if c.box != nil {
		err = c.box.Close()
	}
	if c.bad > 0 {
		return errors.New("some checks failed; fix them, then " + advice)
	}
	return err
}

// warning is an error that does not make check fail.
type warning string

func (w warning) Error() string { return string(w) }

// report writes the line of subject, which failed with err or works, and returns
// whether to go on.
func (c *checker) report(subject string, err error) bool {
	if err == nil {
		fmt.Fprintf(c.out, "ok    %s\n", subject)
		return true
	}
	reason := strings.Join(strings.Fields(err.Error()), " ") // pgx takes several lines
	var w warning
	if errors.As(err, &w) {
		fmt.Fprintf(c.out, "warn  %s: %s\n", subject, reason)
		return true
	}
	fmt.Fprintf(c.out, "bad   %s: %s\n", subject, reason)
	c.bad++
	return false
}

// Check tries what the settings name, writes a line for each, and fails if one
// does not work.
func Check(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	send := flags.Bool("send", false, "send a test SMS to each recipient, and wait until it is delivered")
	wait := flags.Duration("wait", 30*time.Second, "`duration` to wait for each delivery")
	if done, err := parse(flags, args, 0, stdout); done || err != nil {
		return err
	}
	c, err := newChecker(getenv, stdout)
	if err != nil {
		return err
	}
	if *send && c.settings.DryRun {
		return errors.New("-send: a dry run sends nothing; set DRY_RUN=false")
	}
	c.report("settings", nil)
	for _, doubt := range c.settings.Warnings {
		fmt.Fprintf(stdout, "warn  %s\n", doubt)
	}
	c.report("database", c.database(ctx))
	usable := c.phones(ctx)
	if usable && *send {
		for _, to := range c.settings.Outbox.Recipients {
			c.report("SMS to "+alert.Mask(to), c.send(ctx, to, *wait))
		}
		if c.twilio.CallbackRefused() {
			c.report("status callback", warning("whether alerts arrive stays unknown: "+alert.Advice("21609")))
		}
	}
	c.report("PUBLIC_URL", c.publicURL(ctx))
	if c.settings.PublicURL != "" {
		fmt.Fprintf(stdout, "      the URL for the Debugger webhook and Alarms: %s#rc=3&rp=all\n", c.webhookURL())
		if usable {
			c.streams(ctx)
		}
	}
	return c.finish("check again")
}

// phones reports on the account, ALERT_FROM and ALERT_TO, and returns whether
// the account can be used.
func (c *checker) phones(ctx context.Context) bool {
	if c.settings.Account.SID == "" || c.settings.Account.Password == "" {
		c.report("account", warning("no credentials, which a dry run does not need; ALERT_FROM and ALERT_TO are not checked"))
		return false
	}
	state, err := c.account(ctx)
	if !c.report(strings.TrimSpace("account "+state.Type), err) {
		return false
	}
	c.report("ALERT_FROM", c.from(ctx))
	for _, to := range c.settings.Outbox.Recipients {
		c.report("ALERT_TO "+alert.Mask(to), c.to(ctx, to, state.Trial()))
	}
	return true
}

// database opens the database and tries to write to it.
func (c *checker) database(ctx context.Context) (err error) {
	if c.box, err = outbox.Visit(ctx, c.settings.DatabaseURL); err != nil {
		return fmt.Errorf("%w; set DATABASE_URL to a file in a folder that the server may write, or to a Postgres that runs", err)
	}
	health := c.box.Health(ctx)
	if health.Problem != "" {
		return errors.New(health.Problem)
	}
	if len(health.Notes) > 0 {
		return warning(strings.Join(health.Notes, "; "))
	}
	return nil
}

// account tries the credentials.
func (c *checker) account(ctx context.Context) (sms.AccountState, error) {
	account := c.settings.Account
	if c.usesKey() {
		if err := c.twilio.ReadMessages(ctx); err != nil {
			return sms.AccountState{}, withRemedy(err, "copy TWILIO_API_KEY and TWILIO_API_SECRET again, from a key of this account and region; a restricted key must be allowed to read and create messages")
		}
		if c.settings.AuthToken == "" {
			return sms.AccountState{}, warning("standard API keys may not read it, so a trial account is not recognized")
		}
	}
	state, err := sms.NewTwilio(account.WithToken(c.settings.AuthToken), "", "").AccountState(ctx)
	switch {
	case err != nil:
		err = withRemedy(err, "copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN again from the Console's first page, not the test credentials")
	case state.Status != "active":
		err = fmt.Errorf("it is %s; the Console says why", state.Status)
	case state.Trial():
		err = warning("it texts verified phones only, 50 messages a day, each after Twilio's own words; upgrade it in the Console to lift that")
	}
	return state, err
}

// usesKey reports whether an API key takes the place of the auth token.
func (c *checker) usesKey() bool { return c.settings.Account.User != c.settings.Account.SID }

// withRemedy adds to what Twilio answered how to fix it. Another error stays.
func withRemedy(err error, remedy string) error {
	return advise(err, remedy, "see that this machine reaches Twilio, and try again")
}

// advise adds to what Twilio answered a remedy, if it refused, or else how to try
// again. Another error stays.
func advise(err error, remedy, again string) error {
	failure, ok := errors.AsType[*alert.SendError](err)
	if !ok {
		return err
	}
	if failure.Outcome != alert.Refused && failure.Outcome != alert.Blocked {
		remedy = again
	}
	return fmt.Errorf("%w; %s", err, remedy)
}

// lookupError is withRemedy for what an API key may be forbidden to read: the
// server does not need it.
func (c *checker) lookupError(err error, remedy string) error {
	failure, ok := errors.AsType[*alert.SendError](err)
	if ok && c.usesKey() && failure.Outcome == alert.Blocked && failure.Code != sms.NotFound {
		return warning("this API key may not look it up; check -send tries it")
	}
	return withRemedy(err, remedy)
}

// from reports whether the account can send from ALERT_FROM.
func (c *checker) from(ctx context.Context) error {
	const buy = "choose one of the Console's active numbers with the capability SMS"
	from := c.settings.From
	switch {
	case from == "":
		return warning("missing, which a dry run does not need")
	case strings.HasPrefix(from, "MG"):
		found, err := c.twilio.HasSenders(ctx, from)
		if err == nil && !found {
			return errors.New("the messaging service has no sender; add a number to its sender pool in the Console")
		}
		return c.lookupError(err, "copy the messaging service's SID again")
	case !isNumber(from) && strings.Trim(from, "0123456789") != "":
		return warning("a name or a channel's address is in no list at Twilio; check -send tries it")
	}
	owned, texts, err := c.twilio.Number(ctx, from)
	switch {
	case err != nil:
		return c.lookupError(err, buy)
	case !owned:
		return errors.New("the account has no such number; " + buy)
	case !texts:
		return errors.New("the number cannot send SMS; " + buy)
	}
	return nil
}

// isNumber tells a phone number from the other forms that the settings allow.
func isNumber(address string) bool { return strings.HasPrefix(address, "+") }

// to reports whether the account may text a recipient.
func (c *checker) to(ctx context.Context, to string, trial bool) error {
	if to == c.settings.From {
		return errors.New("it is ALERT_FROM, which cannot text itself; set another phone")
	}
	if !trial || !isNumber(to) {
		return nil
	}
	verified, _, err := c.twilio.Number(ctx, to)
	if err == nil && !verified {
		verified, err = c.twilio.Verified(ctx, to)
	}
	if err == nil && !verified {
		return errors.New("not verified, and this is a trial account; verify it in the Console under Verified Caller IDs, or upgrade the account")
	}
	return c.lookupError(err, "the Console lists what is verified")
}

// send sends a test SMS to a recipient, as an alert is sent, and waits until it is
// delivered.
func (c *checker) send(ctx context.Context, to string, wait time.Duration) error {
	test := alert.SMS{ID: "check-" + rand.Text(), To: to, Body: testText}
	sid, err := c.twilio.Send(ctx, test)
	if err == nil && c.box != nil {
		err = c.box.Own(ctx, sid, test.ID)
	}
	if err != nil {
		return withRemedy(err, "see "+alert.CodeLink(sms.ErrorCode(err)))
	}
	for deadline := time.Now().Add(wait); ; {
		status, code, err := c.twilio.Delivery(ctx, sid)
		switch {
		case err != nil:
			return withRemedy(err, "it was sent; the Console's message log says what became of it")
		case status == "delivered", status == "read":
			return nil
		case status == "undelivered", status == "failed":
			return fmt.Errorf("%s, %s; see %s", status, alert.Advice(code), alert.CodeLink(code))
		case !sleep(ctx, deadline):
			return warning(fmt.Sprintf("still %s; not every carrier reports a delivery, look at the phone", status))
		}
	}
}
