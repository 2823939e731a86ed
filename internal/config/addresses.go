package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Server is how to reach the server that has the same settings.
type Server struct {
	// LocalURL is its address on this machine, of ADDR and PORT.
	LocalURL string
	// PublicURL is its address for Twilio, PUBLIC_URL, or nil.
	PublicURL *url.URL
	// AuthToken is TWILIO_AUTH_TOKEN, which signs requests, or empty.
	AuthToken string
}

// LoadServer reads how to reach the server, and no other settings.
func LoadServer(getenv func(string) string) (Server, error) {
	r := &reader{getenv: getenv}
	server := Server{LocalURL: localURL(r.addr()), PublicURL: r.url("PUBLIC_URL"), AuthToken: r.authToken()}
	return server, errors.Join(r.problems...)
}

// LocalURL reads the server's address on this machine, and no other settings.
func LocalURL(getenv func(string) string) (string, error) {
	r := &reader{getenv: getenv}
	address := localURL(r.addr())
	return address, errors.Join(r.problems...)
}

// localURL returns where this machine reaches the listener at addr.
func localURL(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// addr reads where the public listener listens.
func (r *reader) addr() string {
	addr := r.text("ADDR", "127.0.0.1:8080")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		r.wrong("ADDR", "expected host:port such as 127.0.0.1:8080 or :8080, got %q", addr)
	}
	port = r.text("PORT", port)
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		r.wrong("PORT", "expected a port of up to 65535, got %q", port)
	}
	return net.JoinHostPort(host, port)
}

// admin checks that strangers cannot read the operator's page.
func (r *reader) admin(c Config) {
	if c.AdminAddr == "" {
		return
	}
	host, _, err := net.SplitHostPort(c.AdminAddr)
	if err != nil {
		r.wrong("ADMIN_ADDR", "expected host:port such as 127.0.0.1:9090, got %q", c.AdminAddr)
		return
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && c.AdminPassword == "" {
		r.wrong("ADMIN_PASSWORD", "missing; ADMIN_ADDR is not on loopback, so the page must ask for a password")
	}
}

func (r *reader) authToken() string {
	return r.matching("TWILIO_AUTH_TOKEN", secret, "letters and digits only")
}

// url reads the address of a server; nil if it is not set or wrong.
func (r *reader) url(name string) *url.URL {
	value := r.text(name, "")
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		r.wrong(name, "expected an address such as https://alerts.example.com, without user, query or #")
		return nil
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u
}

// publicURL reads PUBLIC_URL.
func (r *reader) publicURL() string {
	u := r.url("PUBLIC_URL")
	if u == nil {
		return ""
	}
	if strings.Trim(u.Path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") != "" {
		r.wrong("PUBLIC_URL", "expected a path of letters, digits and -._~ only, got %q", u.Path)
		return ""
	}
	return u.String()
}
