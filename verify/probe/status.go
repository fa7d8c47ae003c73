package probe

// Connections counts the open connections by the group of their mail hosts (Request.Group), those
// that are being made or ended included.
func (p *Pool) Connections() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := make(map[string]int)
	for key, g := range p.groups {
		open[key.name] += g.open
	}
	return open
}
