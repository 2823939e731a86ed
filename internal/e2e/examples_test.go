package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// vocabulary is what an example may name: the program's own, and what belongs
// to others.
type vocabulary struct {
	settings, paths, ports, subcommands map[string]bool
}

// What examples name that belongs to others: images, platforms, Caddy, the
// machine.
var (
	settingsOfOthers = []string{"POSTGRES_USER", "POSTGRES_PASSWORD", "RAILWAY_RUN_UID", "USER_ID", "VERSION", "CGO_ENABLED", "GOTOOLCHAIN", "GOOS", "GOARCH", "AF_INET", "AF_INET6", "AF_UNIX"}
	portsOfOthers    = []string{"80", "443"}
)

// How examples name settings, paths of the server, ports and subcommands.
var (
	settingNamed    = regexp.MustCompile(`\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b|\b([A-Z]{4,})(?:=|: )|^\s*([A-Z]{4,}) = `)
	pathNamed       = regexp.MustCompile(`(?:(?:GET|POST) |\bpath(?:: | = "|=| \x60)|https?://[A-Za-z0-9.:-]+)(/[a-z_]*)`)
	portNamed       = regexp.MustCompile(`(?:localhost|server|127\.0\.0\.1|ADDR(?:=|: "?)|"[0-9]+):([0-9]{2,5})\b|[pP]ort(?:: | = | )([0-9]+)|EXPOSE ([0-9]+)|ngrok http ([0-9]+)`)
	subcommandNamed = regexp.MustCompile(`(?:\x60twilio-error-sms|bin/twilio-error-sms|"/twilio-error-sms",|run --rm server) "?([a-z]+)`)
)

// TestExamplesNameWhatExists: every setting, path, port and subcommand in the
// examples, in docs/deploy.md and in the Dockerfile is one of the program.
func TestExamplesNameWhatExists(t *testing.T) {
	t.Parallel()
	known := readVocabulary(t)
	files, err := filepath.Glob("../../examples/*")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples:", err)
	}
	for _, file := range append(files, "../../docs/deploy.md", "../../Dockerfile") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			for _, problem := range known.problems(read(t, file)) {
				t.Error(problem)
			}
		})
	}
}

// TestMistakesInExamplesAreFound: a name that does not exist is noticed, in
// each way that the examples write one.
func TestMistakesInExamplesAreFound(t *testing.T) {
	t.Parallel()
	known := readVocabulary(t)
	for text, want := range map[string]string{
		"environment:\n  TWILIO_AUTH_TOKN: x":                "setting TWILIO_AUTH_TOKN",
		"      ALERTS: x":                                    "setting ALERTS",
		"Environment=DATABASE_URI=sqlite:alerts.db":          "setting DATABASE_URI",
		"httpGet: {path: /lives, port: http}":                "path /lives",
		"    path = \"/health\"":                             "path /health",
		"--liveness-probe httpGet.path=/alive":               "path /alive",
		"https://alerts.example.com/error_triggers":          "path /error_triggers",
		"`GET /healthy`":                                     "path /healthy",
		"the health check path `/live`":                      "path /live",
		"\"--to\", \"server:8081\"":                          "port 8081",
		"  internal_port = 3000":                             "port 3000",
		"    ports: [\"80:81\"]":                             "port 81",
		"- {name: http, containerPort: 8000}":                "port 8000",
		"ADDR: \":8088\"":                                    "port 8088",
		"http://localhost:9091/metrics":                      "port 9091",
		"    port 8082":                                      "port 8082",
		"ngrok http 8008":                                    "port 8008",
		"ExecStart=/usr/local/bin/twilio-error-sms serv":     "subcommand serv",
		"test: [\"CMD\", \"/twilio-error-sms\", \"health\"]": "subcommand health",
		"`twilio-error-sms chek`":                            "subcommand chek",
		"docker compose run --rm server chek":                "subcommand chek",
	} {
		if got := known.problems(text); !slices.Equal(got, []string{"there is no " + want}) {
			t.Errorf("%q: %q, want no %s", text, got, want)
		}
	}
}

// TestContainersInExamplesFitTheImage: every YAML file can be parsed, the
// server's folder is where the image keeps its outbox, and its user is the
// image's.
func TestContainersInExamplesFitTheImage(t *testing.T) {
	t.Parallel()
	image := read(t, "../../Dockerfile")
	volume := group(t, image, `DATABASE_URL=sqlite:(/\w+)/`)
	user := group(t, image, `(?m)^ARG USER_ID=([0-9]+)$`)
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples:", err)
	}
	for _, file := range files {
		text := read(t, file)
		for i, document := range strings.Split(text, "\n---\n") {
			var parsed map[string]any
			if err := yaml.UnmarshalStrict([]byte(document), &parsed); err != nil || len(parsed) == 0 {
				t.Errorf("%s, document %d: %v, %d keys", file, i+1, err, len(parsed))
			}
		}
		for _, match := range regexp.MustCompile(`outbox:(/[a-z]+)|mountPath: (/[a-z]+)|sqlite:(/[a-z]+)/`).FindAllStringSubmatch(text, -1) {
			if got := strings.Join(match[1:], ""); got != volume {
				t.Errorf("%s has the outbox in %s, the image in %s", file, got, volume)
			}
		}
		for _, match := range regexp.MustCompile(`(?:runAsUser|runAsGroup|fsGroup): ([0-9]+)`).FindAllStringSubmatch(text, -1) {
			if match[1] != user {
				t.Errorf("%s runs as %s, the image as %s", file, match[1], user)
			}
		}
	}
}

// problems says what text names that does not exist.
func (v vocabulary) problems(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		for _, kind := range []struct {
			name  string
			named *regexp.Regexp
			known map[string]bool
		}{
			{"setting", settingNamed, v.settings},
			{"path", pathNamed, v.paths},
			{"port", portNamed, v.ports},
			{"subcommand", subcommandNamed, v.subcommands},
		} {
			for _, match := range kind.named.FindAllStringSubmatch(line, -1) {
				if name := strings.Join(match[1:], ""); name != "" && !kind.known[name] {
					all = append(all, fmt.Sprintf("there is no %s %s", kind.name, name))
				}
			}
		}
	}
	return all
}

// readVocabulary reads settings from .env.example, routes from the program's
// text, ports from .env.example and the Dockerfile, and subcommands from the
// manual at the top of main.go.
func readVocabulary(t *testing.T) vocabulary {
	t.Helper()
	settings := read(t, "../../.env.example")
	v := vocabulary{
		settings:    groups(settings, `(?m)^(?:# )?([A-Z_]+)=`),
		paths:       make(map[string]bool),
		ports:       groups(settings+read(t, "../../Dockerfile"), `:([0-9]{4,5})\b`),
		subcommands: groups(read(t, "../../main.go"), `(?m)^//\ttwilio-error-sms ([a-z]+) `),
	}
	for _, name := range settingsOfOthers {
		v.settings[name] = true
	}
	for _, port := range portsOfOthers {
		v.ports[port] = true
	}
	for _, pattern := range []string{"../../*.go", "../../internal/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") && !strings.Contains(file, "twiliotest") {
				maps.Copy(v.paths, groups(read(t, file), `"(?:GET|POST) (/[a-z_]*)`))
			}
		}
	}
	return v
}

// groups returns what the only group of pattern matches in text.
func groups(text, pattern string) map[string]bool {
	found := make(map[string]bool)
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found[match[1]] = true
	}
	return found
}

func group(t *testing.T, text, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("nothing matches %s", pattern)
	}
	return match[1]
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
