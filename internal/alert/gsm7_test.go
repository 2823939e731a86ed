package alert

import (
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

func TestLatinLettersFold(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"Kết nối bị từ chối":      "Kêt nôi bi tu chôi",
		"Không tìm thấy địa chỉ":  "Không tìm thây dia chi",
		"ﬁle not ﬂushed, eﬃcient": "file not flushed, efficient",
		"Þór þarf":                "THór tharf",
		"ＨＴＴＰ　ｅｒｒｏｒ":              "HTTP error",
		"Łódź, Gdańsk":            "Lódz, Gdansk",
		"İstanbul ışık":           "Istanbul isik",
		"Straße GROẞ":             "Straße GROSS",
		"Œuvre œuvre":             "OEuvre oeuvre",
		"col·laboració ŀl":        "col*laboració ll",
		"½ ² ™ … №":               "1/2 2 TM ... No",
		"Ⓣⓦⓘⓛⓘⓞ 𝐓𝐰𝐢𝐥𝐢𝐨":           "Twilio Twilio",
		"Ɓaŋa ƙofa":               "Bana kofa",
		"ə Ə":                     "e E",
		"e\u0301 A\u030a":         "é Å",
	} {
		if got := fold(clean(s, 100)); got != fold(want) || foreign(s) {
			t.Errorf("%q folds to %q, want %q; foreign %v", s, got, fold(want), foreign(s))
		}
	}
}

func TestNoLatinLetterIsLost(t *testing.T) {
	t.Parallel()
	for _, block := range [][2]rune{{0xa0, 0x24f}, {0x1e00, 0x1eff}, {0xfb00, 0xfb06}, {0xff01, 0xff5e}} {
		for r := block[0]; r <= block[1]; r++ {
			if unicode.In(r, unicode.Latin) && foldRune(r) == "" {
				t.Errorf("%c (%U) is lost", r, r)
			}
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		for _, part := range foldRune(r) {
			if septets(part) == 0 {
				t.Errorf("%c (%U) folds to %q, which is not GSM-7", r, r, foldRune(r))
			}
		}
	}
}

func TestDescriptionsAreComposed(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"e\u0301":            "é",
		"e\u200b\u0301":      "é",
		"か\u3099":            "が",
		"\u1112\u1161\u11ab": "한",
	} {
		if got := cleanDescription(s); got != want || !norm.NFC.IsNormalString(got) {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}
