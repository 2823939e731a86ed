package alert

import (
	_ "embed"
	"sort"
	"strings"
)

// errorNames holds code, level and short name of Twilio's error codes, one in
// a line, ordered by code, as of February 2025. Newer codes have no name here.
//
//go:embed error-names.tsv
var errorNames string

// codeName returns the short name of code, or "" when it is unknown. It
// searches the embedded text itself: no table to build at start or to keep.
func codeName(code string) string {
	if code == "" {
		return ""
	}
	lineStart := func(i int) int { return strings.LastIndexByte(errorNames[:i], '\n') + 1 }
	i := sort.Search(len(errorNames), func(i int) bool {
		lineCode, _, _ := strings.Cut(errorNames[lineStart(i):], "\t")
		return len(lineCode) > len(code) || len(lineCode) == len(code) && lineCode >= code
	})
	line, _, _ := strings.Cut(errorNames[i:], "\n")
	fields := strings.Split(line, "\t")
	if len(fields) != 3 || fields[0] != code {
		return ""
	}
	return clean(fields[2], maxDescription)
}
