package policy

import "fmt"

// noteReply says on the deciding step how the reply came about, where it is not the rule's own.
func noteReply(d *Decision) {
	action, reply := d.Action, d.Reply
	if d.Shadow != Continue {
		action, reply = d.Shadow, d.ShadowReply
	}
	for i := range d.Steps {
		step := &d.Steps[i]
		if step.Outcome != Match || step.Action == Accept || step.Action == Continue || step.Rule != d.Rule {
			continue
		}
		if step.Detail != "" {
			step.Detail += "; "
		}
		step.Detail += fmt.Sprintf("replies %d %s", reply.Code, reply.Enhanced())
		if step.Action == Reject && action == Defer {
			step.Detail += ": a verdict without proof never rejects, so the reject became a defer"
		}
		if d.Shadow != Continue {
			step.Detail += ": not sent, the mode is shadow"
		}
	}
}
