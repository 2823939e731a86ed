package config

import (
	"regexp"
	"slices"
	"strings"
)

// dryRunRecipient stands for a phone in a dry run without ALERT_TO. It is one
// of the numbers that Twilio keeps for tests.
const dryRunRecipient = "+15005550006"

var (
	phone = regexp.MustCompile(`^(?:whatsapp:)?\+[1-9][0-9]{6,14}$`)
	// channel is an address of another kind, such as messenger:… or rcs:….
	channel            = regexp.MustCompile(`^[a-z]+:[^\s,]+$`)
	serviceOrShortCode = regexp.MustCompile(`^(?:[0-9]{5,6}|MG[0-9a-f]{32})$`)
	// alphanumeric is a name that sends, if it has a letter. Source:
	// https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id.
	alphanumeric = regexp.MustCompile(`^[A-Za-z0-9 +_&-]{1,11}$`)
	letter       = regexp.MustCompile(`[A-Za-z]`)
	// partOfSID would be a name, but was meant as a SID.
	partOfSID = regexp.MustCompile(`^(?:MG|AC|SK)[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*$`)
	// separators stand in numbers that people write, "(0)" among them.
	separators = regexp.MustCompile(`\(0\)|[\s\p{Z}\p{Cf}\p{Pd}()./]`)
)

// phones reads who sends and who gets the alerts.
func (r *reader) phones(c *Config) {
	c.From = tidy(r.text("ALERT_FROM", ""))
	if c.From != "" && !canSend(c.From) {
		r.wrong("ALERT_FROM", "expected a number such as +15551234567 with its country code, a messaging service (MG and 32 digits or small letters a to f), a channel address such as whatsapp:+15551234567, or a name of up to 11 letters, digits, blanks and +-_&")
	}
	for _, to := range r.list("ALERT_TO") {
		if to = tidy(to); !slices.Contains(c.Outbox.Recipients, to) {
			c.Outbox.Recipients = append(c.Outbox.Recipients, to)
		}
	}
	for i, to := range c.Outbox.Recipients {
		if !isPhone(to) {
			r.wrong("ALERT_TO", "recipient %d is not a number; write it with + and its country code, such as +15551234567 or whatsapp:+15551234567, with commas between numbers", i+1)
		} else if c.From != "" && !strings.HasPrefix(c.From, "MG") && channelOf(to) != channelOf(c.From) {
			r.wrong("ALERT_TO", "recipient %d is reached by %s, but ALERT_FROM sends by %s", i+1, channelOf(to), channelOf(c.From))
		}
	}
	if len(c.Outbox.Recipients) == 0 {
		c.Outbox.Recipients = []string{dryRunRecipient}
		if !c.DryRun {
			r.wrong("ALERT_TO", "missing; set the numbers to alert, separated by commas")
		}
	}
	if c.From == "" && !c.DryRun {
		r.wrong("ALERT_FROM", "missing; set one of your Twilio numbers, such as +15551234567")
	}
}

// tidy returns a number as Twilio writes it, of +1 (555) 123-4567,
// +44 (0)7700 900123 or tel:+15551234567. Anything else stays.
func tidy(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "sms:"), "tel:")
	if number := separators.ReplaceAllString(address, ""); phone.MatchString(number) {
		return number
	}
	return address
}

// isPhone reports whether a recipient is a number or a channel's address.
func isPhone(address string) bool {
	return phone.MatchString(address) || channel.MatchString(address) && channelOf(address) != "whatsapp"
}

// canSend reports whether an address can be a sender.
func canSend(address string) bool {
	isName := alphanumeric.MatchString(address) && letter.MatchString(address) && !partOfSID.MatchString(address)
	return isPhone(address) || serviceOrShortCode.MatchString(address) || isName
}

// channelOf returns how an address is reached.
func channelOf(address string) string {
	name, _, found := strings.Cut(address, ":")
	if !found {
		return "SMS"
	}
	return name
}
