package dns

import (
	"fmt"
	"runtime/debug"
)

// safely resolves q. A fault of ours or of the library, which reads what strangers send, is the
// failure of one query and does not end the process.
func (r *Resolver) safely(q question) (answer Answer) {
	defer func() {
		if fault := recover(); fault != nil {
			r.log.Error("internal error in a DNS query; please report it", "name", q.name,
				"error", fmt.Sprint(fault), "stack", string(debug.Stack()))
			answer = failed("internal error")
		}
	}()
	return r.resolve(r.base, q)
}
