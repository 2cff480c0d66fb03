package netfab

import "strings"

// String prints what was observed, a line for each thing in the words of Step,
// sorted as Observed is: two equal fabrics print the same text.
func (o Observed) String() string {
	var b strings.Builder
	line := func(parts ...string) { b.WriteString(strings.Join(parts, " ") + "\n") }
	if o.Outside.Prefix.IsValid() {
		line("outside", o.Outside.String())
	}
	for _, why := range o.OutsideDamaged {
		line("  damaged:", why)
	}
	if o.Underlay.Addr.IsValid() {
		line("underlay", "local", o.Underlay.Addr.String())
	}
	for _, n := range o.Networks {
		line(Step{Op: "network", Network: n.ID, VNI: n.VNI}.String(), baseText(n))
		for _, why := range o.Damaged[n.ID] {
			line("  damaged:", why)
		}
		for _, p := range n.Ports {
			line("  port", portText(p))
		}
		for _, r := range n.Remote {
			line("  remote", remoteText(r))
		}
		if n.Gateway == nil {
			continue
		}
		line("  gateway", gatewayText(*n.Gateway))
		for _, f := range n.Gateway.Floating {
			line("  float", floatText(f))
		}
	}
	for _, s := range o.Stray {
		line("stray", s)
	}
	return b.String()
}
