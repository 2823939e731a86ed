package alert

import (
	"strings"
	"testing"
)

func TestOnlyTheRecipientAndTheTextAreFinal(t *testing.T) {
	t.Parallel()
	for outcome, codes := range map[Outcome][]string{
		Refused:     {"21211", "21214", "21217", "21602", "21610", "21612", "21614", "21617", "30044"},
		NotAccepted: {"20429", "21611", "63038", "14107"},
		Blocked: {"20003", "20005", "20404", "21212", "21408", "21603", "21606", "21608", "21609", "21659", "21660", "21661",
			"21701", "21702", "21703", "21704", "21705", "21712", "572002", "572005", "30034", "20001", "99999", ""},
	} {
		for _, code := range codes {
			if got := Refusal(code); got != outcome {
				t.Errorf("%s is %s, want %s", code, got, outcome)
			}
		}
	}
}

func TestAdviceNamesCodeAndSetting(t *testing.T) {
	t.Parallel()
	for code, want := range map[string][]string{
		"20003":  {"error 20003 (Permission Denied): ", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY", "suspended"},
		"20005":  {"error 20005 (Account not active): ", "Console"},
		"20404":  {"error 20404 (Not Found): ", "TWILIO_ACCOUNT_SID"},
		"21212":  {"ALERT_FROM"},
		"21408":  {"Geo permissions"},
		"21606":  {"ALERT_FROM"},
		"21608":  {"Verified Caller IDs"},
		"21609":  {"PUBLIC_URL"},
		"21703":  {"ALERT_FROM", "messaging service"},
		"30034":  {"A2P 10DLC"},
		"572005": {"error 572005: ", "Verified Caller IDs"},
		"99999":  {"error 99999: see https://www.twilio.com/docs/api/errors/99999"},
	} {
		got := Advice(code)
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q does not say %q", code, got, part)
			}
		}
	}
	if got := Advice(""); got != "" {
		t.Errorf("without a code: %q", got)
	}
}
