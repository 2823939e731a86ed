package twiliotest

import (
	"net/http"
	"slices"
	"strings"
)

// Credentials of a standard API key of the account, which may not read it.
const (
	APIKey    = "SK0123456789abcdef0123456789abcdef"
	APISecret = "Kk9sS8aA7bB6cC5dD4eE3fF2gG1hH0iI"
)

// Account is what the stand-in says of its account.
type Account struct {
	Status string // active, suspended or closed
	Type   string // Trial or Full
	// Numbers are the account's, with what each can do: sms, voice.
	Numbers    map[string]string
	ShortCodes []string
	// Verified are the numbers that a trial account may text.
	Verified []string
	// Services are the messaging services, with the list in which each has a
	// sender, such as PhoneNumbers, or "" for none.
	Services map[string]string
	// Outcome is the status that each SMS reaches after queued, and Code the
	// error code that it has then, or 0.
	Outcome string
	Code    int

	fetched map[string]bool // the SIDs of SMS whose status was asked for
}

// newAccount returns an active full account without numbers.
func newAccount() Account {
	return Account{
		Status:   "active",
		Type:     "Full",
		Numbers:  make(map[string]string),
		Services: make(map[string]string),
		Outcome:  "delivered",
		fetched:  make(map[string]bool),
	}
}

// Change changes the account, also while the stand-in serves.
func (s *Server) Change(change func(*Account)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.account)
}

// handleAccount adds the routes that read the account. At Twilio each product
// has its own host; here their paths differ.
func (s *Server) handleAccount() {
	const api = "GET /2010-04-01/Accounts/{account}"
	for pattern, resource := range map[string]func(*http.Request) (body map[string]any, found bool){
		api:                                 s.accountState,
		api + "/IncomingPhoneNumbers.json":  s.numbers,
		api + "/SMS/ShortCodes.json":        s.shortCodes,
		api + "/OutgoingCallerIds.json":     s.callerIDs,
		api + "/Messages/{message}":         s.message,
		"GET /v1/Services/{service}/{list}": s.senders,
	} {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			body, found := resource(r)
			s.mu.Unlock()
			if !found {
				refuse(w, http.StatusNotFound, 20404, "The requested resource was not found")
				return
			}
			answer(w, http.StatusOK, body)
		})
	}
}

func (s *Server) accountState(r *http.Request) (map[string]any, bool) {
	return map[string]any{"sid": AccountSID, "status": s.account.Status, "type": s.account.Type}, r.PathValue("account") == AccountSID+".json"
}

func (s *Server) numbers(r *http.Request) (map[string]any, bool) {
	list := []any{}
	for number, can := range s.account.Numbers {
		if strings.Contains(number, r.URL.Query().Get("PhoneNumber")) {
			list = append(list, map[string]any{
				"phone_number": number,
				"capabilities": map[string]bool{"sms": strings.Contains(can, "sms"), "voice": strings.Contains(can, "voice")},
			})
		}
	}
	return map[string]any{"incoming_phone_numbers": list}, true
}

func (s *Server) shortCodes(r *http.Request) (map[string]any, bool) {
	list := []any{}
	for _, code := range s.account.ShortCodes {
		if strings.Contains(code, r.URL.Query().Get("ShortCode")) {
			list = append(list, map[string]any{"short_code": code})
		}
	}
	return map[string]any{"short_codes": list}, true
}

func (s *Server) callerIDs(r *http.Request) (map[string]any, bool) {
	list := []any{}
	if number := r.URL.Query().Get("PhoneNumber"); slices.Contains(s.account.Verified, number) {
		list = append(list, map[string]any{"phone_number": number})
	}
	return map[string]any{"outgoing_caller_ids": list}, true
}

func (s *Server) senders(r *http.Request) (map[string]any, bool) {
	key := map[string]string{
		"PhoneNumbers": "phone_numbers", "ShortCodes": "short_codes", "AlphaSenders": "alpha_senders", "ChannelSenders": "senders",
	}[r.PathValue("list")]
	full, found := s.account.Services[r.PathValue("service")]
	list := []any{}
	if full == r.PathValue("list") {
		list = append(list, map[string]any{"sid": NewSID("PN")})
	}
	return map[string]any{key: list}, found && key != ""
}

// message answers queued when first asked of an SMS, and its outcome from then
// on.
func (s *Server) message(r *http.Request) (map[string]any, bool) {
	sid, _ := strings.CutSuffix(r.PathValue("message"), ".json")
	i := slices.IndexFunc(s.messages, func(m Message) bool { return m.SID == sid })
	if i < 0 {
		return nil, false
	}
	body := s.messages[i].json()
	if s.account.fetched[sid] {
		body["status"] = s.account.Outcome
		if s.account.Code != 0 {
			body["error_code"] = s.account.Code
		}
	}
	s.account.fetched[sid] = true
	return body, true
}
