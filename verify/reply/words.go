package reply

import (
	"unicode"
	"unicode/utf8"
)

func (s *scanner) url(c string) {
	s.leave(markURL, c)
	s.urlWords(c)
}

func (s *scanner) urlWords(c string) {
	n := 0
	for i := 0; i <= len(c); i++ {
		if i < len(c) && isAlnum(c[i]) {
			if n < maxWord {
				s.buf[n] = lower(c[i])
			}
			n++
			continue
		}
		if n > 1 && n <= maxWord {
			s.out.urlWord(s.buf[:n])
		}
		n = 0
	}
}

func isAlnum(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// split cuts a chunk into words at everything that is neither letter nor digit.
func (s *scanner) split(c string) {
	n := 0
	end := func() {
		if n > 0 && n <= maxWord {
			s.words++
			s.out.word(s.buf[:n])
		}
		n = 0
	}
	put := func(b byte) {
		if n < maxWord {
			s.buf[n] = b
		}
		n++
	}
	for i := 0; i < len(c); {
		ch := c[i]
		switch {
		case isAlnum(ch):
			put(lower(ch))
			i++
		case ch < utf8.RuneSelf:
			if ch != '\'' || !dropped(c[i+1:]) {
				end()
			}
			if ch == '.' && i+1 < len(c) && c[i+1] >= 'A' && c[i+1] <= 'Z' &&
				i > 0 && c[i-1] >= 'a' && c[i-1] <= 'z' {
				s.out.stop()
			}
			i++
		default:
			r, size := utf8.DecodeRuneInString(c[i:])
			s.rune(r, c[i+size:], put, end)
			i += size
		}
	}
	end()
}

// dropped reports whether an apostrophe before rest is left out: doesn't, recipient's.
func dropped(rest string) bool {
	return (rest == "t" || rest == "s") || len(rest) > 1 && (rest[0] == 't' || rest[0] == 's') &&
		!isAlnum(rest[1])
}

// rune adds one character that is not ASCII: without its accent, each ideograph a word.
func (s *scanner) rune(r rune, rest string, put func(byte), end func()) {
	r = unicode.ToLower(r)
	switch {
	case r == '’':
		if !dropped(rest) {
			end()
		}
	case r == '。' || r == '！' || r == '；':
		end()
		s.out.stop()
	case isIdeograph(r):
		end()
		var b [utf8.UTFMax]byte
		for _, x := range b[:utf8.EncodeRune(b[:], r)] {
			put(x)
		}
		end()
	case !unicode.IsLetter(r) && !unicode.IsMark(r):
		end()
	default:
		if plain := unaccented(r); plain != "" {
			for i := range len(plain) {
				put(plain[i])
			}
			return
		}
		var b [utf8.UTFMax]byte
		for _, x := range b[:utf8.EncodeRune(b[:], r)] {
			put(x)
		}
	}
}

func isIdeograph(r rune) bool {
	return r >= 0x3040 && r <= 0x30ff || r >= 0x3400 && r <= 0x9fff || r >= 0xac00 && r <= 0xd7a3
}

// unaccented is the ASCII of an accented Latin letter, "" for other letters.
func unaccented(r rune) string {
	switch {
	case r >= 'à' && r <= 'å', r == 'ą', r == 'ă', r == 'ā':
		return "a"
	case r == 'ç', r == 'ć', r == 'č':
		return "c"
	case r >= 'è' && r <= 'ë', r == 'ę', r == 'ě', r == 'ė':
		return "e"
	case r >= 'ì' && r <= 'ï', r == 'ı':
		return "i"
	case r == 'ł':
		return "l"
	case r == 'ñ', r == 'ń', r == 'ň':
		return "n"
	case r >= 'ò' && r <= 'ö', r == 'ø', r == 'ő':
		return "o"
	case r == 'ř':
		return "r"
	case r == 'ś', r == 'š', r == 'ş':
		return "s"
	case r == 'ß':
		return "ss"
	case r >= 'ù' && r <= 'ü', r == 'ů', r == 'ű':
		return "u"
	case r == 'ý', r == 'ÿ':
		return "y"
	case r == 'ź', r == 'ż', r == 'ž':
		return "z"
	case r == 'ё':
		return "е" // Cyrillic
	}
	return ""
}
