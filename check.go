package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/outbox"
	"twilio-error-sms/internal/sms"
)

const checkManual = `NAME
  twilio-error-sms check - say what is wrong with the settings, and how to mend it

SYNOPSIS
  twilio-error-sms check [-send [-wait duration]]

DESCRIPTION
  Reads the settings as the server would and tries what they name: the
  outbox, Twilio's account, ALERT_FROM, each of ALERT_TO, and the running
  server by way of PUBLIC_URL. Of each it writes a line:

  ok    it works
  warn  it cannot be checked, or is not what most want
  bad   it does not work; the line says how to mend it

  Without -send no SMS is sent.

FLAGS
{flags}

EXIT STATUS
  0 when no line is bad; 1 when one is.

EXAMPLE
  twilio-error-sms check -send
`

// testText is the SMS of check -send.
const testText = "Test by twilio-error-sms: this phone gets alerts of Twilio errors. " + alert.IndexLink

// checker tries what the settings name.
type checker struct {
	config Config
	token  string // TWILIO_AUTH_TOKEN, beside an API key, too
	twilio *sms.Twilio
	out    io.Writer
	bad    int
}

// warning is an error that does no harm.
type warning string

func (w warning) Error() string { return string(w) }

// report writes the line of what was tried, and returns whether to go on.
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

// check reports whether the settings work.
func check(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	send := flags.Bool("send", false, "send a test SMS to each recipient, and wait until it is delivered")
	wait := flags.Duration("wait", 30*time.Second, "`duration` to wait for deliveries")
	if done, err := parseFlags(flags, args, 0, checkManual, stdout); done || err != nil {
		return err
	}
	config, err := LoadConfig(getenv)
	if err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stdout, "bad   %s\n", problem)
		}
		return errors.New("the settings are wrong: mend them, then check again for the rest")
	}
	if *send && config.DryRun {
		return errors.New("-send: a dry run sends nothing; set DRY_RUN=false")
	}
	c := &checker{
		config: config,
		token:  strings.TrimSpace(getenv("TWILIO_AUTH_TOKEN")),
		twilio: sms.NewTwilio(config.Account, config.From, ""),
		out:    stdout,
	}
	c.report("settings", nil)
	c.report("outbox", c.outbox(ctx))
	if config.Account.SID == "" || config.Account.Password == "" {
		c.report("account", warning("no credentials, which a dry run does not need; ALERT_FROM and ALERT_TO are not checked"))
	} else if standing, err := c.account(ctx); c.report(strings.TrimSpace("account "+standing.Type), err) {
		c.report("ALERT_FROM", c.from(ctx))
		for _, to := range config.To {
			c.report("ALERT_TO "+alert.Mask(to), c.to(ctx, to, standing.Type == "Trial"))
		}
		if *send {
			c.send(ctx, *wait)
		}
	}
	c.report("PUBLIC_URL", c.publicURL(ctx))
	if c.bad > 0 {
		return errors.New("something is bad: mend it, then check again")
	}
	return nil
}

// outbox tries to write to the outbox.
func (c *checker) outbox(ctx context.Context) error {
	box, err := outbox.Open(ctx, c.config.DatabaseURL, outbox.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("%w; set DATABASE_URL to a file in a folder that the server may write, or to a Postgres that runs", err)
	}
	health := box.Health(ctx)
	if err := box.Close(); err != nil {
		return err
	}
	if health.Problem != "" {
		return fmt.Errorf("%s; the server's log tells more", health.Problem)
	}
	if len(health.Notes) > 0 {
		return warning(strings.Join(health.Notes, "; "))
	}
	return nil
}

// account tries the credentials.
func (c *checker) account(ctx context.Context) (sms.AccountState, error) {
	account := c.config.Account
	if account.User != account.SID {
		if err := c.twilio.ReadMessages(ctx); err != nil {
			return sms.AccountState{}, mend(err, "copy TWILIO_API_KEY and TWILIO_API_SECRET again, of a key of this account and region; a restricted one must read and create messages")
		}
		if c.token == "" {
			return sms.AccountState{}, warning("standard API keys may not read it, so nobody knows whether it is a trial")
		}
		account.User, account.Password = account.SID, c.token
	}
	standing, err := sms.NewTwilio(account, "", "").AccountState(ctx)
	if err != nil {
		return standing, mend(err, "copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN again from the Console's first page, not the test credentials")
	}
	if standing.Status != "active" {
		return standing, fmt.Errorf("it is %s; the Console says why", standing.Status)
	}
	return standing, nil
}

// mend adds to what Twilio answered how to mend it.
func mend(err error, how string) error {
	var failure *alert.SendError
	if errors.As(err, &failure) && failure.Outcome != alert.Refused && failure.Outcome != alert.Blocked {
		how = "see that this machine reaches Twilio, and try again"
	}
	return fmt.Errorf("%w; %s", err, how)
}

// lookup is mend for what a server's API key need not be allowed to read.
func (c *checker) lookup(err error, how string) error {
	const notFound = "20404"
	var failure *alert.SendError
	isKey := c.config.Account.User != c.config.Account.SID
	if isKey && errors.As(err, &failure) && failure.Outcome == alert.Blocked && failure.Code != notFound {
		return warning("this API key may not look it up; check -send tries it")
	}
	return mend(err, how)
}

// from reports whether the account can send from ALERT_FROM.
func (c *checker) from(ctx context.Context) error {
	const buy = "choose one of the Console's active numbers with the capability SMS"
	from := c.config.From
	isNumber := number.MatchString(from) || strings.Trim(from, "0123456789") == ""
	switch {
	case from == "":
		return warning("missing, which a dry run does not need")
	case strings.HasPrefix(from, "MG"):
		found, err := c.twilio.HasSenders(ctx, from)
		if err != nil {
			return c.lookup(err, "copy the messaging service's SID again")
		}
		if !found {
			return errors.New("the messaging service has no sender; add a number to its sender pool in the Console")
		}
		return nil
	case !isNumber:
		return warning("a name or a channel's address is in no list at Twilio; check -send tries it")
	}
	found, err := c.twilio.Number(ctx, from)
	switch {
	case err != nil:
		return c.lookup(err, buy)
	case !found.Owned:
		return errors.New("the account has no such number; " + buy)
	case !found.Texts:
		return errors.New("the number cannot send SMS; " + buy)
	}
	return nil
}

// to reports whether the account may text a recipient, whose form is one of
// the settings.
func (c *checker) to(ctx context.Context, to string, trial bool) error {
	if to == c.config.From {
		return errors.New("it is ALERT_FROM, which cannot text itself; set a phone that somebody carries")
	}
	if !trial || !number.MatchString(to) {
		return nil
	}
	verified, err := c.twilio.Verified(ctx, to)
	if err != nil {
		return c.lookup(err, "the Console lists what is verified")
	}
	own, err := c.twilio.Number(ctx, to)
	if err != nil {
		return c.lookup(err, "the Console lists what is verified")
	}
	if !verified && !own.Owned {
		return errors.New("not verified, and this is a trial account; verify it in the Console under Verified Caller IDs, or upgrade the account")
	}
	return nil
}

// send sends a test SMS to each recipient and reports what becomes of it.
func (c *checker) send(ctx context.Context, wait time.Duration) {
	deadline := time.Now().Add(wait)
	sids := make([]string, len(c.config.To))
	errs := make([]error, len(c.config.To))
	for i, to := range c.config.To {
		sids[i], errs[i] = c.twilio.Send(ctx, alert.SMS{To: to, Body: testText})
	}
	for i, to := range c.config.To {
		if errs[i] != nil {
			errs[i] = mend(errs[i], "see "+alert.IndexLink)
		} else {
			errs[i] = c.delivery(ctx, sids[i], deadline)
		}
		c.report("SMS to "+alert.Mask(to), errs[i])
	}
}

// delivery waits until an SMS is delivered.
func (c *checker) delivery(ctx context.Context, sid string, deadline time.Time) error {
	for {
		d, err := c.twilio.Delivery(ctx, sid)
		switch {
		case err != nil:
			return mend(err, "it was sent; the Console's message log says what became of it")
		case d.Status == "delivered", d.Status == "read":
			return nil
		case d.Status == "undelivered", d.Status == "failed":
			event := alert.Event{Code: d.Code}
			return fmt.Errorf("%s, error %s %s; see %s", d.Status, d.Code, event.Name(), event.Link())
		case !time.Now().Before(deadline):
			return warning(fmt.Sprintf("still %s; not every carrier reports a delivery, look at the phone", d.Status))
		}
		time.Sleep(min(time.Second, time.Until(deadline)))
	}
}

// publicURL asks the running server how it is, by the way that Twilio comes.
func (c *checker) publicURL(ctx context.Context) error {
	if c.config.PublicURL == "" {
		if c.config.DryRun || !c.config.Unsigned {
			return warning("missing, so that no webhook of Twilio arrives")
		}
		return warning("missing; whoever reaches the port can make the phones ring")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.PublicURL+"/healthz", nil)
	if err != nil {
		return err
	}
	// Not by a client, which follows redirects: a webhook does not survive them.
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("%w; start the server, and see that the name leads to it, with a valid certificate", err)
	}
	defer response.Body.Close()
	line, _ := bufio.NewReader(io.LimitReader(response.Body, 1024)).ReadString('\n') // an empty one is as bad
	line = strings.TrimSpace(line)
	switch {
	case response.StatusCode == http.StatusOK && line == "ok":
		return nil
	case response.StatusCode/100 == 3:
		return fmt.Errorf("it redirects to %s, and webhooks lose their fields on such a way; set where it ends", response.Header.Get("Location"))
	case response.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("the server is not well: %s; its log tells more", line)
	}
	return fmt.Errorf("something else than this server answers /healthz: %s; see that name and proxy lead to it, path included", response.Status)
}
