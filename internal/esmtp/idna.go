package esmtp

// toASCII is the place of IDNA (RFC 5891).
func toASCII(string) (string, *addressFault) {
	return "", &addressFault{detail: "internationalised domain: write it with A-labels (xn--)"}
}
