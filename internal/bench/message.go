package bench

import "strconv"

// line is the filler of messages: text as mail has it, 78 octets with its end.
const line = "The quick brown fox jumps over the lazy dog 0123456789 abcdefghijklmnopq rst\r\n"

// Message returns a message of size octets, or somewhat more if that is too short for its header.
// Its lines end with CRLF and none begins with a dot, so it goes over the wire as it is.
func Message(size int) []byte { return message("bench", size) }

func message(id string, size int) []byte {
	b := make([]byte, 0, size+512)
	b = append(b, "From: <sender@example.org>\r\nTo: <user@example.com>\r\n"...)
	b = append(b, "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nSubject: benchmark\r\n"...)
	b = append(b, "Message-ID: <"+id+"@example.org>\r\n\r\n"...)
	for len(b)+len(line) <= size {
		b = append(b, line...)
	}
	for len(b) < size-2 {
		b = append(b, 'x')
	}
	if len(b) < size {
		b = append(b, "\r\n"...)
	}
	return b
}

// Recipients returns n different addresses, user0@d0.DOMAIN and so on, spread over so many domains.
func Recipients(n, domains int, domain string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "user" + strconv.Itoa(i) + "@d" + strconv.Itoa(i%domains) + "." + domain
	}
	return out
}
