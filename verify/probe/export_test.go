package probe

// Held returns how many slots of any kind are taken and how many sessions wait.
func (p *Pool) Held() (slots, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		idle += len(list)
	}
	return p.hosts.Len() + p.greeted.Held("") + p.unproven.Held("") + p.opening.Held(""), idle
}
