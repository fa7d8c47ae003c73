package main

import (
	"bytes"
	"unicode/utf8"
)

// topKey is a key, or a character that was typed.
type topKey rune

// Keys that are no characters. Those that nobody asks about are topNone.
const (
	topNone topKey = -1 - iota
	topUp
	topDown
	topLeft
	topRight
	topPageUp
	topPageDown
	topHome
	topEnd
	topTab
	topBackTab
	topEnter
	topErase
	topEscape
	topInterrupt // Ctrl-C
	topSuspend   // Ctrl-Z
	topRedraw    // Ctrl-L
)

// topSequenceMax is longer than any sequence of a key: what does not end by then is none.
const topSequenceMax = 32

// parseTopKeys reads the keys of what a terminal sends: ECMA-48 control sequences and UTF-8. What
// may be the beginning of something longer is left for the next call.
func parseTopKeys(data []byte) (keys []topKey, rest []byte) {
	for len(data) > 0 {
		key, n := parseTopKey(data)
		if n == 0 {
			break
		}
		if key != topNone {
			keys = append(keys, key)
		}
		data = data[n:]
	}
	return keys, data
}

// parseTopKey reads one; n is 0 if it has not ended yet.
func parseTopKey(data []byte) (key topKey, n int) {
	switch c := data[0]; {
	case c == 0x1b:
		return parseTopSequence(data)
	case c < ' ' || c == 0x7f:
		return topControl(c), 1
	case c < utf8.RuneSelf:
		return topKey(c), 1
	case !utf8.FullRune(data):
		return topNone, 0
	}
	r, n := utf8.DecodeRune(data)
	if r == utf8.RuneError {
		return topNone, n
	}
	return topKey(r), n
}

func topControl(c byte) topKey {
	switch c {
	case '\t':
		return topTab
	case '\r', '\n':
		return topEnter
	case '\b', 0x7f:
		return topErase
	case 'C' & 0x1f:
		return topInterrupt
	case 'Z' & 0x1f:
		return topSuspend
	case 'L' & 0x1f:
		return topRedraw
	}
	return topNone
}

// parseTopSequence reads ESC, or a key that begins with it: ESC [ parameters final (ECMA-48, 5.4),
// or ESC O final, as terminals in application mode send.
func parseTopSequence(data []byte) (key topKey, n int) {
	switch {
	case len(data) == 1:
		return topNone, 0
	case data[1] == 'O' && len(data) == 2:
		return topNone, 0
	case data[1] == 'O':
		return topNamed("", data[2]), 3
	case data[1] != '[':
		return topEscape, 1
	}
	end := bytes.IndexFunc(data[2:], func(r rune) bool { return r < ' ' || r > '?' })
	switch {
	case end < 0 && len(data) < topSequenceMax:
		return topNone, 0
	case end < 0 || end+2 >= topSequenceMax:
		return topNone, 2
	}
	end += 2
	if final := data[end]; final >= '@' && final <= '~' {
		return topNamed(string(data[2:end]), final), end + 1
	}
	return topNone, end // broken off by something else, which is read next
}

// topNamed is the key of a sequence. Terminals put pressed modifiers into parameters: those keys are
// none of ours.
func topNamed(parameters string, final byte) topKey {
	switch parameters + string(final) {
	case "A":
		return topUp
	case "B":
		return topDown
	case "C":
		return topRight
	case "D":
		return topLeft
	case "H", "1~", "7~":
		return topHome
	case "F", "4~", "8~":
		return topEnd
	case "5~":
		return topPageUp
	case "6~":
		return topPageDown
	case "Z":
		return topBackTab
	}
	return topNone
}
