package esmtp

import "golang.org/x/net/idna"

// toASCII turns a domain with U-labels into A-labels: UTS #46 for lookup, non-transitional, with the
// bidi rule (RFC 5891 section 5, RFC 5893). What else makes a host name is for checkName to say, which
// knows that underscores occur; mappings to characters that no name has fail there.
func toASCII(s string) (string, *addressFault) {
	profile := idna.New(
		idna.MapForLookup(),
		idna.BidiRule(),
		idna.CheckHyphens(false),
		idna.StrictDomainName(false),
	)
	ascii, err := profile.ToASCII(s)
	if err != nil {
		return "", &addressFault{detail: "the domain is not a valid internationalised name"}
	}
	return ascii, nil
}
