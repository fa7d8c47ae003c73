package esmtp

// SyntaxError is the refusal of a command of a client that cannot be parsed.
type SyntaxError struct {
	// Reply is ready for the client: 501 5.1.3 or 501 5.1.7 (a bad recipient or sender), 501 5.5.4
	// (a bad parameter), 555 5.5.4 (one that is not offered), 553 5.6.7 (UTF-8 without SMTPUTF8).
	Reply Reply
	// Detail says what is wrong. It never repeats the client's octets.
	Detail string
}

// Error implements error.
func (e *SyntaxError) Error() string { return e.Detail }

// The enhanced codes of RFC 3463 sections 3.2 and 3.6 and RFC 6531 section 3.5 that refuse a command.
const (
	badRecipient = 3
	badSender    = 7
)

// syntaxError makes the refusal of an address; detail is 3 for a recipient, 7 for a sender: the last
// part of 5.1.3 and 5.1.7.
func (f *addressFault) syntaxError(detail int) *SyntaxError {
	if f.needsUTF8 {
		return newSyntaxError(553, EnhancedCode{5, 6, 7}, f.detail)
	}
	whose := "recipient"
	if detail == badSender {
		whose = "sender"
	}
	return newSyntaxError(501, EnhancedCode{5, 1, detail}, "bad "+whose+" address: "+f.detail)
}

func badParam(detail string) *SyntaxError {
	return newSyntaxError(501, EnhancedCode{5, 5, 4}, detail)
}

func unknownParam(detail string) *SyntaxError {
	return newSyntaxError(555, EnhancedCode{5, 5, 4}, detail)
}

func newSyntaxError(code int, enhanced EnhancedCode, detail string) *SyntaxError {
	return &SyntaxError{Reply: NewReply(code, enhanced, detail), Detail: detail}
}
