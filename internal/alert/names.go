package alert

import (
	_ "embed"
	"strings"
	"sync"
)

// errorNames holds code, level and short name of Twilio's error codes, one in
// a line, as of February 2025. Newer codes have no name here.
//
//go:embed error-names.tsv
var errorNames string

// codeNames returns the short names by their codes.
var codeNames = sync.OnceValue(func() map[string]string {
	names := make(map[string]string)
	for line := range strings.Lines(errorNames) {
		code, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
		_, names[code], _ = strings.Cut(rest, "\t")
	}
	return names
})

// CodeName returns the short name of an error code, or "" when it is unknown.
func CodeName(code string) string { return codeNames()[code] }
