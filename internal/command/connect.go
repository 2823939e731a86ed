package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"twilio-error-sms/internal/alert"
	"twilio-error-sms/internal/sms"
)

// Connect makes Twilio send every error to the server at PUBLIC_URL, through
// Event Streams, and writes a line for each thing it did. What is there already
// is left as it is.
func Connect(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	flags := flag.NewFlagSet("connect", flag.ContinueOnError)
	only := flags.Bool("n", false, "change nothing, print what would be done")
	remove := flags.Bool("remove", false, "remove what points to PUBLIC_URL")
	wait := flags.Duration("wait", 30*time.Second, "`duration` to wait for Twilio's test event")
	if done, err := parse(flags, args, 0, stdout); done || err != nil {
		return err
	}
	if *wait <= 0 {
		return errors.New("-wait: expected a duration such as 30s; see twilio-error-sms connect -h")
	}
	c, err := newChecker(getenv, stdout)
	if err != nil {
		return err
	}
	const want = "set the address at which Twilio reaches this server, such as https://alerts.example.com"
	account := c.settings.Account
	switch {
	case c.settings.PublicURL == "":
		c.report("PUBLIC_URL", errors.New("missing; "+want))
	case !strings.HasPrefix(c.settings.PublicURL, "https://") && account.BaseURL == nil: // a stand-in for Twilio takes http
		c.report("PUBLIC_URL", errors.New("it is http, which others can read and change on the way; "+want))
	case account.SID == "" || account.Password == "":
		c.report("account", errors.New("no credentials; set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"))
	case *remove:
		c.disconnect(ctx, *only)
	case *only:
		c.connect(ctx, true)
	default:
		c.connectAndTest(ctx, *wait)
	}
	return c.finish("run connect again; it goes on from where it was")
}

// connectAndTest connects, and waits for a test event of Twilio's. It posts one
// of its own first, if it can sign: that shows whether its outbox is the server's.
func (c *checker) connectAndTest(ctx context.Context, wait time.Duration) {
	began := time.Now().Add(-time.Hour) // the server's clock may be late
	var unopened error
	c.box, unopened = visit(ctx, c.settings.DatabaseURL)
	before := c.testEvents(ctx, began)
	if !c.report("PUBLIC_URL", c.publicURL(ctx)) {
		return
	}
	after := c.testEvents(ctx, began)
	sink, ok := c.connect(ctx, false)
	if !ok {
		return
	}
	const elsewhere = "Twilio sends it, but %s; look for " + alert.TestEvent + " in the server's log or on its page"
	err := c.twilio.TestSink(ctx, sink.SID)
	switch {
	case err != nil:
		c.report("test event", c.streamsError(err))
	case unopened != nil:
		c.report("test event", warning(fmt.Sprintf(elsewhere, "the database cannot be read here: "+unopened.Error())))
	case after == before && c.settings.AuthToken != "":
		c.report("test event", warning(fmt.Sprintf(elsewhere, "the server has another database than DATABASE_URL here")))
	default:
		c.awaitTestEvent(ctx, began, after, sink.SID, wait)
	}
}

// awaitTestEvent waits until more test events came than before.
func (c *checker) awaitTestEvent(ctx context.Context, since time.Time, before int64, sink string, wait time.Duration) {
	for deadline := time.Now().Add(wait); c.testEvents(ctx, since) <= before; {
		if !sleep(ctx, deadline) {
			c.report("test event", fmt.Errorf("none came within %s, though Twilio took the request; see the Console's error log for errors of sink %s, then run connect again", wait, sink))
			return
		}
	}
	c.report("test event, from Twilio to the server", nil)
}

// testEvents returns how many test events the outbox has seen since a time, 0
// where that cannot be told.
func (c *checker) testEvents(ctx context.Context, since time.Time) int64 {
	if c.box == nil {
		return 0
	}
	n, _ := c.box.TestEvents(ctx, since)
	return n
}

// sleep waits for half a second and returns true, or false where ctx or the
// deadline is over.
func sleep(ctx context.Context, deadline time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(min(500*time.Millisecond, time.Until(deadline))):
		return time.Now().Before(deadline)
	}
}

// connect finds the sink and its subscription, makes what is missing unless it
// is only to print, and reports whether it can go on.
func (c *checker) connect(ctx context.Context, only bool) (sink sms.Sink, ok bool) {
	sinks, err := c.twilio.Sinks(ctx, c.webhookURL())
	if err != nil {
		return sink, c.report("Event Streams", c.streamsError(err))
	}
	switch {
	case len(sinks) > 0:
		if sink, ok = c.pick(sinks); !ok {
			return sink, false
		}
	case only:
		c.report("sink would be created, for "+c.webhookURL(), nil)
	default:
		if sink.SID, err = c.twilio.CreateSink(ctx, c.webhookURL()); err != nil {
			return sink, c.report("sink", c.streamsError(err))
		}
		c.report("sink "+sink.SID+" created, for "+c.webhookURL(), nil)
	}
	switch {
	case sink.Errors != "":
		c.report("subscription "+sink.Errors+" found", nil)
	case only:
		c.report("subscription to errors would be created", nil)
	default:
		if sink.Errors, err = c.twilio.Subscribe(ctx, sink); err != nil {
			return sink, c.report("subscription", c.streamsError(err))
		}
		c.report("subscription "+sink.Errors+" to errors created", nil)
	}
	return sink, true
}

// pick reports on sinks that point here and returns the best, unless all have
// failed.
func (c *checker) pick(sinks []sms.Sink) (best sms.Sink, ok bool) {
	best = sinks[0]
	for _, sink := range sinks {
		if !sink.Failed() && (best.Failed() || best.Errors == "") {
			best = sink
		}
	}
	for _, sink := range sinks {
		if sink.SID != best.SID {
			c.report("sink "+sink.SID, warning("it points here too; connect -remove, then connect, leaves one"))
		}
	}
	if best.Failed() {
		return best, c.report("sink "+best.SID, errors.New("failed: Twilio has given up on it; run connect -remove, then connect"))
	}
	return best, c.report(fmt.Sprintf("sink %s found, %s", best.SID, best.Status), nil)
}

// disconnect removes the sinks that point here, with their subscriptions, unless
// it is only to print.
func (c *checker) disconnect(ctx context.Context, only bool) {
	sinks, err := c.twilio.Sinks(ctx, c.webhookURL())
	if err != nil {
		c.report("Event Streams", c.streamsError(err))
		return
	}
	if len(sinks) == 0 {
		c.report("nothing of Event Streams points to "+c.webhookURL(), nil)
	}
	for _, sink := range sinks {
		what := strings.Join(append([]string{"sink " + sink.SID}, sink.Subscriptions...), " with subscription ")
		if only {
			c.report(what+" would be removed", nil)
			continue
		}
		fmt.Fprintf(c.out, "      %s points to %s\n", what, c.webhookURL())
		if err := c.twilio.RemoveSink(ctx, sink); err != nil {
			c.report(what, advise(err, "delete it in the Console, under Event Streams", "run connect -remove again: it goes on from there"))
			continue
		}
		c.report(what+" removed", nil)
	}
}

// streams reports what of Event Streams points here.
func (c *checker) streams(ctx context.Context) {
	const others = "the Debugger webhook and Alarms in the Console cannot be read by API"
	sinks, err := c.twilio.Sinks(ctx, c.webhookURL())
	connected := slices.IndexFunc(sinks, func(s sms.Sink) bool { return s.Errors != "" && !s.Failed() })
	subject := "Event Streams"
	switch {
	case err != nil:
		err = warning(fmt.Sprintf("%v; what points here is not known (%s)", err, others))
	case connected >= 0:
		subject = fmt.Sprintf("Event Streams: sink %s and subscription %s point here (%s)", sinks[connected].SID, sinks[connected].Errors, others)
	case len(sinks) > 0:
		err = warning(fmt.Sprintf("sink %s points here but brings no errors (%s); run connect", sinks[0].SID, sinks[0].Status))
	default:
		err = warning("nothing points here; run connect, or set the Debugger webhook in the Console (" + others + ")")
	}
	c.report(subject, err)
}

// streamsError adds to what Twilio answered about Event Streams what to do.
func (c *checker) streamsError(err error) error {
	forbidden := slices.Contains([]string{"20003", "20006", "20403"}, sms.ErrorCode(err))
	console := "set the Debugger webhook in the Console to " + c.webhookURL() + "#rc=3&rp=all instead"
	remedy := "an account has at most 100 sinks and 100 subscriptions, see Event Streams in the Console; or " + console
	switch {
	case forbidden && c.usesKey():
		remedy = "allow the API key to read, create and delete Sinks and Subscriptions of Event Streams, or run connect with TWILIO_AUTH_TOKEN and no API key"
	case forbidden:
		remedy = "copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN again from the Console's first page; if they are right, this account may not use Event Streams, as some trials may not: " + console
	}
	return advise(err, remedy, "run connect again: it goes on from there")
}
