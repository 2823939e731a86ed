package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"twilio-error-sms/internal/signature"
	"twilio-error-sms/internal/twiliotest"
)

// wire is a request as it is sent: the lines of its header but Host, and
// Content-Length where the body is not chunked.
type wire struct {
	target, body string
	header       []string
}

// send sends a request and returns the answer. A connection that ends without one,
// as on a machine that stood still for the server's time-outs, is tried again.
func (p *process) send(t *testing.T, w wire) (status int, text string) {
	t.Helper()
	var err error
	for range 3 {
		if status, text, err = p.sendOnce(w); err == nil {
			return status, text
		}
		t.Logf("%+v: %v", w, err)
	}
	t.Fatal(err)
	return 0, ""
}

func (p *process) sendOnce(w wire) (status int, text string, err error) {
	c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	header := strings.Join(w.header, "\r\n")
	if !strings.Contains(header, "Transfer-Encoding") {
		header += fmt.Sprintf("\r\nContent-Length: %d", len(w.body))
	}
	if !strings.Contains(w.target, " HTTP/") {
		w.target += " HTTP/1.1"
	}
	go fmt.Fprintf(c, "POST %s\r\nHost: a\r\n%s\r\n\r\n%s", w.target, header, w.body)
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err == nil && answer.StatusCode == http.StatusContinue {
		answer, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		return 0, "", err
	}
	all, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(all), err
}

// signedBy returns the header of a signature.
func signedBy(token, address string, form url.Values) string {
	return "X-Twilio-Signature: " + signature.Sign(token, address, form)
}

const (
	formHeader = "Content-Type: application/x-www-form-urlencoded"
	jsonHeader = "Content-Type: application/json"
	trigger    = "/error_trigger"
)

// hashed returns trigger with the hash of JSON.
func hashed(body string) string {
	hash := sha256.Sum256([]byte(body))
	return trigger + "?bodySHA256=" + hex.EncodeToString(hash[:])
}

// trusting starts a server that trusts a token, one more, and one that is bound
// to an account.
func trusting(t *testing.T) *process {
	return startProgram(t, t.TempDir(), "DRY_RUN=true", "PUBLIC_URL="+publicURL, "TRIGGERS=* every 1", "SMS_PER_HOUR=1000000",
		"TWILIO_AUTH_TOKEN="+twiliotest.AuthToken, "WEBHOOK_AUTH_TOKENS="+oldToken+","+otherAccount+":"+boundToken)
}

const boundToken = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"

// TestForgeries: one captured request of each kind is worth nothing, however it is
// changed.
func TestForgeries(t *testing.T) {
	t.Parallel()
	server := trusting(t)
	debugger, alarm := newWebhook("11200", "HTTP retrieval failure").form(), url.Values{
		"AccountSid": {twiliotest.AccountSID}, "AppMonitorTriggerSid": {twiliotest.NewSID("AK")}, "CurrentValue": {"55"}, "DateFired": {"Wed, 25 Nov 2026 16:51:20 +0000"},
		"Description": {"Any Warning or Error"}, "ErrorCode": {"11200"}, "IdempotencyToken": {"AC-FIRES-AK"}, "Log": {"error"}, "TimePeriod": {"ONE_DAY"}, "TriggerValue": {"1.000000"},
	}
	event, err := json.Marshal(newWebhook("11200", "HTTP retrieval failure").cloudEvent())
	if err != nil {
		t.Fatal(err)
	}
	stream := string(event)
	captured := []wire{
		{trigger, debugger.Encode(), []string{formHeader, signedBy(twiliotest.AuthToken, publicURL+trigger, debugger)}},
		{trigger, alarm.Encode(), []string{formHeader, signedBy(twiliotest.AuthToken, publicURL+trigger, alarm)}},
		{hashed(stream), stream, []string{jsonHeader, signedBy(twiliotest.AuthToken, publicURL+hashed(stream), nil)}},
	}
	for _, w := range captured {
		if status, text := server.send(t, w); status != http.StatusOK || text == "seen before\n" {
			t.Fatalf("what Twilio sent: %d %q", status, text)
		}
	}
	forged := append(splits(captured[0], debugger), splits(captured[1], alarm)...)
	for _, w := range captured {
		forged = append(forged, changed(w)...)
	}
	forged = append(forged, signedByOthers(debugger, stream)...)
	seen := 0
	for _, w := range forged {
		status, text := server.send(t, w)
		if text == "seen before\n" {
			seen++
		}
		if status == http.StatusOK && text != "seen before\n" || status >= 500 {
			t.Errorf("%+v\nis answered %d %q", w, status, text)
		}
	}
	t.Logf("%d forgeries, %d of them have the signature of a request that was seen before", len(forged), seen)
	if n := rows(databaseIn(server.Dir), "events"); n != len(captured) || seen < 60 {
		t.Errorf("%d events of %d requests, %d were seen before", n, len(captured), seen)
	}
}

// splits returns all forms with the same signature that the captured one becomes
// when its fields are run together, and when the end of a name or a value moves.
func splits(w wire, form url.Values) (all []wire) {
	names := slices.Sorted(maps.Keys(form))
	add := func(fields []string) {
		all = append(all, wire{w.target, strings.Join(fields, "&"), w.header})
	}
	for kept := range 1 << (len(names) - 1) {
		var fields []string
		for i, name := range names {
			if i == 0 || kept&(1<<(i-1)) != 0 {
				fields = append(fields, url.QueryEscape(name)+"=")
			} else {
				fields[len(fields)-1] += url.QueryEscape(name)
			}
			fields[len(fields)-1] += url.QueryEscape(form.Get(name))
		}
		add(fields)
		add(append(fields, "=")) // a field without name and value is signed as nothing
	}
	for i := range names {
		for shift := -3; shift <= 3; shift++ {
			var fields []string
			for j, name := range names {
				pair := name + form.Get(name)
				end := len(name)
				if i == j {
					end = min(max(end+shift, 0), len(pair))
				}
				fields = append(fields, url.QueryEscape(pair[:end])+"="+url.QueryEscape(pair[end:]))
			}
			add(fields)
			add(append(fields, fields[i])) // each value is signed once
		}
	}
	return all
}

// changed returns a captured request with all that is not signed changed, and
// with what is signed changed.
func changed(w wire) (all []wire) {
	at := strings.IndexByte(w.target, '?')
	if at < 0 {
		at = len(w.target)
	}
	path, query := w.target[:at], w.target[at:]
	and := "?"
	if query != "" {
		and = query + "&"
	}
	for _, target := range []string{
		"/" + w.target, path + "/" + query, path + and + "a=1", path + and, "/message_status" + query, "/alerts" + w.target, "/./error_trigger" + query, "/error%5Ftrigger" + query,
		"https://alerts.example.com" + w.target, "http://evil.example.com" + w.target, path + and + "bodySHA256=" + strings.Repeat("0", 64), w.target + " HTTP/1.0", path + strings.ToUpper(query) + "#x",
	} {
		all = append(all, wire{target, w.body, w.header})
	}
	for _, body := range []string{"", w.body + "&More=1", "More=1&" + w.body, w.body + "&", w.body + " ", " " + w.body, w.body[1:], strings.ToLower(w.body), strings.ReplaceAll(w.body, "11200", "30007"), "[" + w.body + "]"} {
		all = append(all, wire{w.target, body, w.header})
	}
	content, signed := w.header[0], w.header[1]
	for _, header := range [][]string{
		{content}, {content, signed, "I-Twilio-Idempotency-Token: 1"}, {content, signed, "I-Twilio-Idempotency-Token: 2"}, {content, signed, "X-Forwarded-Host: evil.example.com"},
		{content, signed, "X-Forwarded-For: 3.4.5.6", "X-HTTP-Method-Override: GET"}, {content, "X-Twilio-Signature: wrong", signed}, {content, "X-Twilio-Signature:", signed}, {content, signed, "X-Twilio-Signature: wrong"},
		{content, signed + " "}, {content, signed + "="}, {content, signed[:len(signed)-1]}, {content, strings.ToLower(signed)}, {content, strings.NewReplacer("+", "-", "/", "_").Replace(signed) + "="}, {content, strings.Replace(signed, "X-Twilio-", "X-Other-", 1)},
		{formHeader, signed}, {jsonHeader, signed}, {"Content-Type: text/plain", signed}, {"Content-Type: multipart/form-data; boundary=x", signed}, {"Accept: */*", signed}, {content + "; charset=utf-8", signed},
	} {
		all = append(all, wire{w.target, w.body, header})
	}
	for _, spare := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		// Two bits of the last character before = are in none of the bytes.
		all = append(all, wire{w.target, w.body, []string{content, signed[:len(signed)-2] + string(spare) + "="}})
	}
	return all
}

// signedByOthers returns requests that nobody trusted signed for this server.
func signedByOthers(form url.Values, stream string) (all []wire) {
	add := func(path, token, address string) {
		all = append(all,
			wire{path, form.Encode(), []string{formHeader, signedBy(token, address+path, form)}},
			wire{hashed(stream), stream, []string{jsonHeader, signedBy(token, address+hashed(stream), nil)}})
	}
	for _, token := range []string{"", "12345", twiliotest.AccountSID, twiliotest.APIKey, strings.ToUpper(twiliotest.AuthToken), twiliotest.AuthToken + " ", " " + twiliotest.AuthToken, otherAccount + ":" + boundToken, boundToken, oldToken + "," + boundToken} {
		add(trigger, token, publicURL)
	}
	for _, address := range []string{"https://evil.example.com", "http://alerts.example.com", publicURL + ":80", publicURL + ":8443", publicURL + "/", "https://alerts.example.com.evil.example.com", "https://operator@alerts.example.com", "", "https://ALERTS.example.com"} {
		add(trigger, twiliotest.AuthToken, address)
	}
	report := url.Values{"MessageSid": {twiliotest.NewSID("SM")}, "MessageStatus": {"delivered"}}
	for _, token := range []string{oldToken, boundToken, "", "12345"} {
		all = append(all, wire{"/message_status", report.Encode(), []string{formHeader, signedBy(token, publicURL+"/message_status", report)}})
	}
	empty := hashed("")
	return append(all,
		wire{trigger, stream, []string{jsonHeader, signedBy(twiliotest.AuthToken, publicURL+trigger, nil)}},
		wire{empty, stream, []string{jsonHeader, signedBy(twiliotest.AuthToken, publicURL+empty, nil)}},
		wire{empty + "&" + hashed(stream)[len(trigger)+1:], stream, []string{jsonHeader, signedBy(twiliotest.AuthToken, publicURL+empty+"&"+hashed(stream)[len(trigger)+1:], nil)}})
}
