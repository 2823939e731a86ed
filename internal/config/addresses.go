package config

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// LoadServer reads Addr, PublicURL, AuthToken and DatabaseURL, which tell how to
// reach the server that has the same settings and its database, and no others.
// Beside an error Addr is right all the same, unless ADDR or PORT is wrong.
func LoadServer(getenv func(string) string) (Config, error) {
	r := newReader(getenv)
	c := Config{Addr: r.addr(), PublicURL: r.publicURL(), AuthToken: r.authToken(), DatabaseURL: r.databaseURL()}
	return c, errors.Join(r.problems...)
}

// LocalURL returns where this machine reaches the public listener.
func (c Config) LocalURL() string {
	host, port, _ := net.SplitHostPort(c.Addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// addr reads where the public listener listens: by default on loopback, and on
// all interfaces where a platform sets PORT.
func (r *reader) addr() string {
	port, fallback := r.text("PORT", ""), "127.0.0.1:8080"
	if port != "" {
		fallback = ":" + port
	}
	addr := r.text("ADDR", fallback)
	host, own, err := net.SplitHostPort(addr)
	if err != nil || !isPort(own) && port == "" {
		r.expected("ADDR", "host:port such as 127.0.0.1:8080 or :8080", addr)
	}
	if port != "" && !isPort(port) {
		r.expected("PORT", "a port of up to 65535 such as 8080", port)
	}
	return net.JoinHostPort(host, cmp.Or(port, own))
}

func isPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// onLoopback reports whether only this machine reaches the listener at addr.
func onLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (r *reader) databaseURL() string { return r.text("DATABASE_URL", "sqlite:alerts.db") }

// admin checks that strangers cannot read the operator's page.
func (r *reader) admin(c Config) {
	if c.AdminAddr == "" {
		return
	}
	if _, port, err := net.SplitHostPort(c.AdminAddr); err != nil || !isPort(port) {
		r.expected("ADMIN_ADDR", "host:port such as 127.0.0.1:9090", c.AdminAddr)
	} else if !onLoopback(c.AdminAddr) && c.AdminPassword == "" {
		r.wrong("ADMIN_PASSWORD", "missing; ADMIN_ADDR is not on loopback, so the page must ask for a password")
	}
}

// authToken reads TWILIO_AUTH_TOKEN.
func (r *reader) authToken() string {
	token := r.matching("TWILIO_AUTH_TOKEN", secret, "letters and digits only; copy it again from the Console's first page")
	if accountSID.MatchString(token) {
		r.wrong("TWILIO_AUTH_TOKEN", "this is the account's SID; the token stands below it on the Console's first page")
	}
	return token
}

// url reads the address of a server, nil if it is not set or wrong. An error
// repeats host and path only: the rest may be secret.
func (r *reader) url(name string) *url.URL {
	value := r.text(name, "")
	if value == "" {
		return nil
	}
	full := value
	if !strings.Contains(value, "://") {
		full = "https://" + value
	}
	u, err := url.Parse(full)
	if err != nil || u.Hostname() == "" || full != value && !strings.Contains(u.Host, ".") {
		r.wrong(name, "expected an address such as https://alerts.example.com")
		return nil
	}
	scheme, path := "https://", strings.TrimRight(u.EscapedPath(), "/")
	if u.Scheme == "http" {
		scheme = "http://"
	}
	for _, route := range []string{"/error_trigger", "/message_status"} {
		path = strings.TrimRight(strings.TrimSuffix(path, route), "/")
	}
	if clean := scheme + u.Host + path; !strings.EqualFold(clean, strings.TrimRight(value, "/")) {
		r.wrong(name, "expected an address with https:// before it, without user, query, # and the route that Twilio's requests add; write %s", clean)
		return nil
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u
}

var urlPath = regexp.MustCompile(`^[A-Za-z0-9._~/-]*$`)

// publicURL reads PUBLIC_URL, "" if it is not set or no address.
func (r *reader) publicURL() string {
	const name = "PUBLIC_URL"
	u := r.url(name)
	if u == nil {
		return ""
	}
	switch host := u.Hostname(); {
	case !urlPath.MatchString(u.EscapedPath()):
		r.expected(name, "a path of letters, digits and -._~ only", u.Path)
	case strings.Contains(host, "_"):
		r.wrong(name, "Twilio refuses a host with an underscore; write a name of this server with - instead")
	case !isPublic(host):
		r.warn(name, "Twilio cannot reach %s; write the address that the internet has for this server, of a proxy or a tunnel such as ngrok", host)
	case u.Scheme == "http":
		r.warn(name, "http:// lets strangers on the way read your errors; write https://%s%s, if something before this server speaks TLS", u.Host, u.Path)
	}
	return u.String()
}

// isPublic reports whether a host may be reached from the internet.
func isPublic(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	dot := strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')
	return dot > 0 && !slices.Contains([]string{"local", "localhost", "internal", "lan", "home", "test"}, strings.ToLower(host[dot+1:]))
}
