package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"twilio-error-sms/internal/twiliotest"
)

// TestLegalRequests: what Twilio, its products and the proxies before this server
// may write differently is believed all the same, and each is news.
func TestLegalRequests(t *testing.T) {
	t.Parallel()
	server := trusting(t)
	requests := legalForms()
	maps.Copy(requests, legalJSON(t))
	for name, w := range requests {
		if status, text := server.send(t, w); status != http.StatusOK || !strings.Contains(text, "An error on your Twilio app occurred!") {
			t.Errorf("%s: %d %q", name, status, text)
		}
	}
	t.Logf("%d legal requests", len(requests))
	if n := rows(databaseIn(server.Dir), "events"); n < len(requests) || n < 50 {
		t.Errorf("%d events are known of %d requests", n, len(requests))
	}
}

// legalForms returns requests that carry forms, by what is special about them.
func legalForms() map[string]wire {
	all := make(map[string]wire)
	// add adds a Debugger webhook: fields are more fields, encode may rewrite the
	// body, which means the same.
	add := func(name, target string, fields url.Values, encode func(string) string, header ...string) {
		form := newWebhook("11200", "HTTP retrieval failure: a=1&b;c 100% ü").form()
		maps.Copy(form, fields)
		body := form.Encode()
		if encode != nil {
			body = encode(body)
		}
		if !strings.Contains(strings.Join(header, " "), "Content-Type") {
			header = append(header, formHeader)
		}
		signed, _, _ := strings.Cut(target, " HTTP/")
		all[name] = wire{target, body, append(header, signedBy(twiliotest.AuthToken, publicURL+strings.TrimPrefix(signed, publicURL), form))}
	}
	for _, contentType := range []string{"application/x-www-form-urlencoded; charset=utf-8", "application/x-www-form-urlencoded;charset=UTF-8", `application/x-www-form-urlencoded; charset="utf-8"`, "APPLICATION/X-WWW-FORM-URLENCODED", "application/x-www-form-urlencoded ; charset=ISO-8859-1"} {
		add(contentType, trigger, nil, nil, "Content-Type: "+contentType)
	}
	for _, target := range []string{"/error_trigger/", "//error_trigger", "/./error_trigger", "/error%5Ftrigger", "/error_trigger?", "/error_trigger?a", "/error_trigger?a=1&a=1", "/error_trigger?a=%20b&c", "/error_trigger?a=100%", "/error_trigger?a;b", "/error_trigger?a=+",
		"/error_trigger?Sid=NO1&Level=warning", "/error_trigger?a=%C3%BC", "/error_trigger?a=?", publicURL + trigger, trigger + " HTTP/1.0"} {
		add(target, target, nil, nil)
	}
	for name, fields := range map[string]url.Values{
		"unknown fields": {"Zone": {"us1"}, "A": {"b"}}, "an empty field": {"Extra": {""}}, "a field without name": {"": {"x"}}, "a field twice": {"Extra": {"b", "a"}}, "a value twice": {"Extra": {"a", "a"}},
		"a name in another case": {"sid": {"x"}}, "other scripts": {"Extra": {"サーバー", "😀"}}, "beyond the BMP in a name": {"😀": {"a"}, "ﬀ": {"b"}}, "line breaks": {"Extra": {"a\r\nb\x00c"}}, "blanks": {" Extra ": {" a "}},
		"many fields": manyFields(900), "a large field": {"Extra": {strings.Repeat("x", 60<<10)}}, "a very large field": {"Extra": {strings.Repeat("x", 900<<10)}},
	} {
		add(name, trigger, fields, nil)
	}
	for name, encode := range map[string]func(string) string{
		"blanks as %20": func(s string) string { return strings.ReplaceAll(s, "+", "%20") }, "small hexadecimal digits": lowerEscapes,
		"reserved characters as they are": strings.NewReplacer("%22", `"`, "%3A", ":", "%2C", ",", "%7B", "{", "%7D", "}", "%3D", "=", "%3B", ";", "%C3%BC", "ü").Replace,
		"letters encoded":                 func(s string) string { return strings.ReplaceAll(s, "Sid=", "%53id=") }, "a lone %": func(s string) string { return strings.ReplaceAll(s, "100%25", "100%") },
		"empty pairs": func(s string) string { return "&&" + strings.ReplaceAll(s, "&", "&&") + "&" }, "no = where nothing follows": func(s string) string { return strings.Replace(s, "ParentAccountSid=", "ParentAccountSid", 1) },
		"another order": func(s string) string {
			pairs := strings.Split(s, "&")
			slices.Reverse(pairs)
			return strings.Join(pairs, "&")
		},
	} {
		add(name, trigger, nil, encode)
	}
	for _, header := range []string{"Connection: close", "Expect: 100-continue", "I-Twilio-Idempotency-Token: the-same", "i-twilio-idempotency-token: the-same", "User-Agent: TwilioProxy/1.1", "Authorization: Basic dXNlcjpwYXNz", "X-Forwarded-Proto: http", "Cookie: a=b", "Accept-Encoding: gzip"} {
		add(header, trigger, nil, nil, header)
	}
	add("in chunks", trigger, nil, chunked, "Transfer-Encoding: chunked")
	add("many chunks", trigger, url.Values{"Extra": {strings.Repeat("x", 200<<10)}}, chunked, "Transfer-Encoding: chunked")
	form := newWebhook("11200", "in the query").form()
	query := trigger + "?" + form.Encode()
	for name, header := range map[string][]string{"nothing but a query": nil, "a query and an empty form": {formHeader}, "a query and empty JSON": {jsonHeader}} {
		query += "&b=" + fmt.Sprint(len(all))
		query = strings.Replace(query, "Sid=NO", "Sid=NO"+fmt.Sprint(len(all)), 1)
		all[name] = wire{query, "", append(header, signedBy(twiliotest.AuthToken, publicURL+query, nil))}
	}
	resign := func(name, token, address string, form url.Values) {
		all[name] = wire{trigger, form.Encode(), []string{formHeader, signedBy(token, address+trigger, form)}}
	}
	resign("signed with the port", twiliotest.AuthToken, publicURL+":443", newWebhook("11200", "port").form())
	resign("signed by another token", oldToken, publicURL, newWebhook("11200", "token").form())
	bound := newWebhook("11200", "bound")
	bound.account = otherAccount
	resign("signed by its account's token", boundToken, publicURL, bound.form())
	return all
}

func manyFields(n int) url.Values {
	fields := make(url.Values)
	for i := range n {
		fields.Set(fmt.Sprint("Field", i), "x")
	}
	return fields
}

// lowerEscapes writes %c3 for %C3.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '%' {
			copy(b[i:i+3], strings.ToLower(s[i:i+3]))
		}
	}
	return string(b)
}

// chunked returns a body in two chunks.
func chunked(s string) string {
	half := len(s) / 2
	return fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, s[:half], len(s)-half, s[half:])
}

// legalJSON returns requests that carry JSON, by what is special about them.
func legalJSON(t *testing.T) map[string]wire {
	all := make(map[string]wire)
	add := func(name, body, more, contentType string) {
		target := hashed(body) + more
		all[name] = wire{target, body, []string{"Content-Type: " + contentType, signedBy(twiliotest.AuthToken, publicURL+target, nil)}}
	}
	event := func() string {
		text, err := json.Marshal(newWebhook("11200", "HTTP retrieval failure").cloudEvent())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	add("one event", event(), "", "application/json")
	add("a batch of one", "["+event()+"]", "", "application/json")
	add("a batch of three", "["+event()+","+event()+","+event()+"]", "", "application/json")
	add("a batch with a bad event", "["+event()+",1]", "", "application/json")
	add("blanks around", "\r\n [ "+event()+" ]\n", "", "application/json")
	add("a charset", event(), "", "application/json; charset=utf-8")
	add("a CloudEvent", event(), "", "application/cloudevents+json")
	add("CloudEvents", "["+event()+"]", "", "application/cloudevents-batch+json; charset=UTF-8")
	add("more in the query", event(), "&a=1&b", "application/json")
	add("an empty pair in the query", event(), "&", "application/json")
	add("an Alarm", `{"ErrorCode":"11200","Description":"an Alarm"}`, "", "application/json")
	add("an Alarm with numbers", `{"ErrorCode":11200,"Description":"an Alarm"}`, "", "application/json")
	add("a batch of 1 MiB", "["+event()+"]"+strings.Repeat(" ", 1<<20-1000-len("[]")), "", "application/json")
	large := all["a batch of three"]
	all["JSON in chunks"] = wire{large.target + "&a=1", chunked(large.body), []string{jsonHeader, "Transfer-Encoding: chunked", signedBy(twiliotest.AuthToken, publicURL+large.target+"&a=1", nil)}}
	delete(all, "a batch of three")
	body := event()
	before := trigger + "?a=1&" + strings.TrimPrefix(hashed(body), trigger+"?")
	all["the hash last"] = wire{before, body, []string{jsonHeader, signedBy(twiliotest.AuthToken, publicURL+before, nil)}}
	body = event()
	all["JSON signed with the port"] = wire{hashed(body), body, []string{jsonHeader, signedBy(twiliotest.AuthToken, publicURL+":443"+hashed(body), nil)}}
	return all
}
