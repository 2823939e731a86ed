package alert

import "fmt"

// Refusal returns what it means for an SMS that Twilio refused it with an
// error code. Refused is only what Twilio says of this recipient or this text.
// NotAccepted are limits, which pass. Every other code is Blocked, unknown ones
// too: an SMS that waits in vain can still be sent, one given up cannot.
// Source: https://www.twilio.com/docs/api/errors.
func Refusal(code string) Outcome {
	switch code {
	case "21211", "21214", "21217", "21401", "21604", "21610", "21612", "21614", "21635", "30005", "30006", "63003", "63024", "63033", // recipient
		"21602", "21605", "21617", "21618", "21619", "30044": // text
		return Refused
	case "14107", "20429", "21611", "21730", "30001", "30022", "30023", "30027", "63017", "63018", "63038":
		return NotAccepted
	}
	return Blocked
}

// Advice says what an operator can do about an SMS that is Blocked with an
// error code: one line with the code, its name where known, and Remedy. It is
// empty without a code.
func Advice(code string) string {
	if code == "" {
		return ""
	}
	name := CodeName(code)
	if name != "" {
		name = " (" + name + ")"
	}
	return fmt.Sprintf("error %s%s: %s", code, name, Remedy(code))
}

// Remedy says what to change, in which setting or where in the Console, so that
// Twilio no longer refuses with an error code.
func Remedy(code string) string {
	const upgrade = "or upgrade the trial account"
	switch code {
	case "20002", "20003", "20006", "20008", "20403", "21222", "21224":
		return "set TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_SECRET, to the live ones of this account and region; if they are right, see in the Console whether the account is suspended"
	case "20005", "21472", "30002", "10001":
		return "the account is not active; see the Console for the reason"
	case "20404", "21470", "21471":
		return "set TWILIO_ACCOUNT_SID to the account of the credentials, and TWILIO_REGION to its region"
	case "21408", "21215":
		return "enable the recipient's country in the Console under Messaging > Settings > Geo permissions"
	case "21608", "14111", "572002", "572005":
		return "verify the phone in the Console under Verified Caller IDs, " + upgrade
	case "21607", "21267":
		return "set ALERT_FROM to the number of the trial account, " + upgrade
	case "21610":
		return "text START from the phone to ALERT_FROM"
	case "21211", "21214", "21217", "21614", "30005", "30006":
		return "correct the phone in ALERT_TO"
	case "30003":
		return "the phone is off or out of reach"
	case "30004", "30007", "30008":
		return "a carrier has stopped it; if more are, set another number in ALERT_FROM"
	case "21609":
		return "set PUBLIC_URL to a public https address without an underscore in its host"
	case "21266", "63031":
		return "take ALERT_FROM out of ALERT_TO"
	case "21701", "21702", "21703", "21704", "21705", "21709", "21712":
		return "set ALERT_FROM to a messaging service of this account that has a sender"
	case "30018", "30024", "30032", "30033", "30034", "30035", "30040", "30041", "21717", "21729", "21731":
		return "register the number of ALERT_FROM with the carriers in the Console (A2P 10DLC, toll-free verification, sender ID), or set another"
	case "21212", "21407", "21601", "21603", "21606", "21613", "21616", "21657", "21659", "21660", "21661", "30037", "30042", "63002", "63007", "63008":
		return "set ALERT_FROM to a number of this account and region that can text the recipient's country"
	}
	return "see " + CodeLink(code)
}
