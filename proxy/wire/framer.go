package wire

import "bytes"

// framer finds the end of a message in the octets that follow DATA. It owns the only
// knowledge that decides it: whether the next octet stands right behind a CR LF.
//
// A piece is scanned as far as it can be decided. What cannot (a CR whose LF has not come,
// a dot at the start of a line) is left for the next call, which must present it again in
// front of the octets that follow. So the end does not depend on how the octets are cut.
type framer struct {
	bol     bool  // the next octet is the first of a line, behind a strict CR LF
	bad     bool  // a bare CR, a bare LF or a NUL was seen
	stuffed int64 // dots that the client put in front of lines (RFC 5321 section 4.5.2)
}

func newFramer() framer { return framer{bol: true} }

// scan decides a prefix p[:n] of p, which belongs to the message. When done, the end
// follows it: the message is p[:n] and what the client sent behind it begins at p[next].
func (f *framer) scan(p []byte) (n, next int, done bool) {
	lines := 0
	for n < len(p) {
		if f.bol && p[n] == '.' {
			rest := p[n+1:]
			if len(rest) == 0 || len(rest) == 1 && rest[0] == '\r' {
				break // not decided
			}
			if rest[0] == '\r' && rest[1] == '\n' {
				f.check(p[:n], lines)
				return n, n + 3, true
			}
			f.stuffed++
		}
		lf := bytes.IndexByte(p[n:], '\n')
		if lf < 0 {
			n = f.partial(p, n)
			break
		}
		if f.bol = lf > 0 && p[n+lf-1] == '\r'; f.bol {
			lines++
		} else {
			f.bad = true
		}
		n += lf + 1
	}
	f.check(p[:n], lines)
	return n, n, false
}

// partial decides a line whose end has not come yet: all of it but a CR at its end.
func (f *framer) partial(p []byte, n int) int {
	end := len(p)
	if p[end-1] == '\r' {
		end--
	}
	if end > n {
		f.bol = false
	}
	return end
}

// check looks for bare octets in a decided piece that holds so many CR LF. Over the whole piece
// at once this is several times faster than line by line.
func (f *framer) check(p []byte, lines int) {
	if !f.bad && (bytes.Count(p, cr) != lines || bytes.IndexByte(p, 0) >= 0) {
		f.bad = true
	}
}

var cr = []byte{'\r'}

// normalizer rewrites the decided octets of a message so that only CR LF stands in them:
// a bare CR and a bare LF become CR LF, NUL is dropped. It never makes an end of data: a
// dot that comes to stand first on a line only because of the rewriting is stuffed, and a
// client's stuffing dot that would come to stand alone on its line is taken away.
type normalizer struct {
	strict bool // the input stands right behind a CR LF: a dot here is the client's stuffing
	bol    bool // the output stands at the start of a line
	dot    bool // a stuffing dot is held until it is known what follows it
}

func newNormalizer() normalizer { return normalizer{strict: true, bol: true} }

// append writes the decided octets p to dst. A CR LF is never cut between two calls,
// because framer.scan leaves a CR at the end of a piece undecided.
func (z *normalizer) append(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == 0:
			z.strict = false
		case c == '\r' || c == '\n':
			z.strict = c == '\r' && i+1 < len(p) && p[i+1] == '\n'
			if z.strict {
				i++
			}
			dst = append(dst, '\r', '\n')
			z.bol, z.dot = true, false
		case c == '.' && z.strict:
			z.dot, z.strict = true, false
		default:
			if z.dot {
				dst = append(dst, '.')
			} else if z.bol && c == '.' {
				dst = append(dst, '.')
			}
			dst = append(dst, c)
			z.strict, z.bol, z.dot = false, false, false
		}
	}
	return dst
}
