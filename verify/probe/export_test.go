package probe

// Held returns how many slots of any kind are taken and how many sessions wait.
func (p *Pool) Held() (slots, idling int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pr := range p.peers {
		for _, s := range pr.sessions {
			if s.state == idle {
				idling++
			}
		}
	}
	return len(p.peers) + len(p.groups) + len(p.names) + len(p.held) +
		p.greeted.Held("") + p.unproven.Held("") + p.opening.Held(""), idling
}
