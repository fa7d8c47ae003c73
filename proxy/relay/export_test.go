package relay

// InStep says whether nothing waits on the session, without closing it.
func (t *Tx) InStep() bool { return t.s.cl.Clean() }
