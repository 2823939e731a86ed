module twilio-error-sms

go 1.26.8
